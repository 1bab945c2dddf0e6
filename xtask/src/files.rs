//! What committed files may not hold: paths of the machine they were written on, marks of an unfinished
//! merge, and more of a program than is read in one go.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Rust files stay under so many lines.
const TOO_LONG: usize = 600;

/// Looks through every committed text file; one sentence for each finding.
pub fn violations(workspace: &Workspace) -> Result<Vec<String>> {
    // The checkout may belong to another user, as in a container: listing its files is harmless.
    let mut git = workspace.command("git");
    let listed = git.args(["-c", "safe.directory=*", "ls-files", "-z"]).output();
    let listed = listed.context("cannot run git")?;
    if !listed.status.success() {
        bail!("`git ls-files` failed: {}", String::from_utf8_lossy(&listed.stderr));
    }
    let unwanted = unwanted(&workspace.root, std::env::var("HOME").ok().as_deref());
    let mut found = Vec::new();
    for name in String::from_utf8_lossy(&listed.stdout).split_terminator('\0') {
        // Binary files, and files that are deleted but not yet committed so, are passed over.
        let Ok(text) = std::fs::read_to_string(workspace.root.join(name)) else {
            continue;
        };
        found
            .extend(in_text(&text, &unwanted).map(|(line, what)| format!("{name}:{line}: {what}")));
        found.extend(too_long(name, &text));
    }
    Ok(found)
}

/// Paths of this machine, each with a slash at its end.
fn unwanted(root: &Path, home: Option<&str>) -> Vec<String> {
    let around = root.parent().filter(|parent| parent.parent().is_some());
    let paths = [Some(root), around, home.map(Path::new)];
    let paths = paths.into_iter().flatten().filter(|path| path.parent().is_some());
    paths.map(|path| format!("{}/", path.display())).collect()
}

fn in_text<'a>(
    text: &'a str,
    unwanted: &'a [String],
) -> impl Iterator<Item = (usize, String)> + 'a {
    text.lines().enumerate().filter_map(move |(at, line)| {
        let path = unwanted.iter().find(|path| line.contains(path.as_str()));
        let what = match path {
            Some(path) => format!("a path of this machine, {path}"),
            None if is_conflict(line) => "a mark of an unfinished merge".to_owned(),
            None => return None,
        };
        Some((at + 1, what))
    })
}

fn too_long(name: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let advice = "split it by what it is made of";
    (name.ends_with(".rs") && lines >= TOO_LONG)
        .then(|| format!("{name}: {lines} lines, where files stay under {TOO_LONG}: {advice}"))
}

fn is_conflict(line: &str) -> bool {
    ["<", ">"].iter().any(|sign| line.starts_with(&format!("{} ", sign.repeat(7))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_merge_marks_are_found() {
        let unwanted = unwanted(Path::new("/src/tidegate"), Some("/homes/eve"));
        assert_eq!(unwanted, ["/src/tidegate/", "/src/", "/homes/eve/"]);
        let text = format!("fine\nsee /src/other/x\n{} HEAD\n/srcs/\n", "<".repeat(7));
        let found: Vec<_> = in_text(&text, &unwanted).collect();
        assert_eq!(
            found,
            [
                (2, "a path of this machine, /src/".to_owned()),
                (3, "a mark of an unfinished merge".to_owned())
            ]
        );
    }

    #[test]
    fn files_of_programs_that_are_too_long_are_found() {
        let [shorter, longer] = [TOO_LONG - 1, TOO_LONG].map(|lines| "line\n".repeat(lines));
        assert_eq!(too_long("src/lib.rs", &shorter), None);
        let found = too_long("src/lib.rs", &longer).expect("too long");
        assert!(found.starts_with("src/lib.rs: 600 lines, "), "{found}");
        assert_eq!(too_long("golden.yaml", &longer), None);
    }

    #[test]
    fn a_checkout_at_the_top_does_not_forbid_every_path() {
        assert_eq!(unwanted(Path::new("/tidegate"), Some("/")), ["/tidegate/"]);
    }
}
