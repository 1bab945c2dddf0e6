//! What is known of the mesh: `--mesh-config`, a file that is read once, at the start; and the folder of `--workload-certs`.

use std::path::Path;
use std::sync::Arc;

use tidegate_pilot::{Options, mesh};

use crate::failure::{Failure, Outcome};
use crate::terminal;

/// The text of `--mesh-config`.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path) -> Outcome<Config> {
    let from = format!("--mesh-config {}", path.display());
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::new(format!("{from}: {error}")))?;
    Ok(Config { from, text })
}

/// A mesh config as it is written, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where, for messages.
    pub from: String,
    /// YAML.
    pub text: String,
}

/// Takes over the settings of a mesh config, and says which have no effect.
///
/// # Errors
/// It is not YAML, or says what cannot be taken over.
pub fn apply(config: Option<&Config>, options: &mut Options) -> Outcome<()> {
    let Some(Config { from, text }) = config else { return Ok(()) };
    let failed = |reason: String| Failure::new(format!("{from}: {reason}"));
    let mut documents = tidegate_yaml::parse(text);
    let document = match (documents.pop(), documents.is_empty()) {
        (None, _) => return Ok(()),
        (Some(document), true) => document.map_err(|fault| failed(fault.to_string()))?,
        (Some(_), false) => return Err(failed("it has several documents; one is read".to_owned())),
    };
    let idle =
        mesh::apply(&document.to_json(), options).map_err(|error| failed(error.to_string()))?;
    if !idle.is_empty() {
        let fields = idle.join(", ");
        terminal::say(format!("{from}: without effect yet: {fields}"));
    }
    Ok(())
}

/// A folder with the gateway's certificate in the mesh, by a name that is good wherever it is used.
pub fn folder(path: &Path) -> Arc<str> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole.display().to_string().into()
}

#[cfg(test)]
mod tests {
    use super::read as from_file;
    use super::*;

    #[test]
    fn a_file_is_taken_over_or_says_why_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mesh.yaml");
        let read = |text: &str| {
            std::fs::write(&file, text).expect("written");
            let mut options = Options::default();
            let config = from_file(&file).expect("a file");
            apply(Some(&config), &mut options).map(|()| options.root_namespace)
        };
        assert_eq!(read("rootNamespace: root\ntrustDomain: a\n").ok().as_deref(), Some("root"));
        assert_eq!(read("").ok().as_deref(), Some("istio-system"));
        for (text, why) in [
            ("rootNamespace: [", "--mesh-config"),
            ("connectTimeout: soon", "connectTimeout must be a duration"),
            ("a: 1\n---\nb: 2\n", "several documents"),
        ] {
            let error = read(text).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
