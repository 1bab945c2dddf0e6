use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

const AGE: Timestamp = Timestamp::UNIX_EPOCH;

/// Longer than any event takes, shorter than anybody's patience.
const DEADLINE: Duration = Duration::from_secs(20);

fn entry(name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: {name}\nspec:\n  \
         hosts: [{host}]\n  ports:\n  - {{number: 80, name: http, protocol: HTTP}}\n  resolution: DNS\n"
    )
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a scratch folder")
}

fn files(roots: &[&Path]) -> Files {
    let roots = roots.iter().map(|r| r.to_path_buf()).collect();
    Files::new(roots, AGE).expect("files can be watched")
}

async fn next(files: &mut Files) -> Batch {
    tokio::time::timeout(DEADLINE, files.next()).await.expect("a change is noticed")
}

/// Changes in short: `+name@line`, `-name`, `!name`.
fn short(batch: &Batch) -> Vec<String> {
    let change = |change: &FileChange| match change {
        FileChange::Put { object, .. } => match object.origin {
            Origin::File { line, .. } => format!("+{}@{line}", object.key.name),
            _ => "?".to_owned(),
        },
        FileChange::Remove { key, .. } => format!("-{}", key.name),
        FileChange::Invalid { key, .. } => format!("!{}", key.name),
    };
    batch.changes.iter().map(change).collect()
}

fn errors(change: &FileChange) -> &[String] {
    let FileChange::Invalid { errors, .. } = change else { panic!("Invalid, not {change:?}") };
    errors
}

fn told(batch: &Batch) -> Vec<String> {
    batch.findings.iter().map(|f| f.diagnostic.to_string()).collect()
}

#[tokio::test]
async fn folders_are_read_with_their_sub_folders() {
    let folder = folder();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).expect("a folder");
    let two = format!("{}---\n{}", entry("a", "a.com"), entry("b", "b.com"));
    fs::write(folder.path().join("one.yaml"), two).expect("written");
    fs::write(inner.join("two.yml"), entry("c", "c.com")).expect("written");
    fs::write(inner.join("notes.txt"), entry("no", "no.com")).expect("written");
    fs::write(folder.path().join(".hidden.yaml"), entry("no", "no.com")).expect("written");
    let mut files = files(&[folder.path()]);
    let batch = next(&mut files).await;
    assert_eq!(short(&batch), ["+c@1", "+a@1", "+b@11"]);
    assert!(batch.findings.is_empty());
    let FileChange::Put { object, manifest } = &batch.changes[0] else { panic!("a Put") };
    assert_eq!((&*object.key.namespace, object.created), ("default", AGE));
    assert_eq!(manifest["metadata"]["namespace"], "default");
}

#[tokio::test]
async fn what_is_there_not_is_told_at_once() {
    let folder = folder();
    let batch = next(&mut files(&[&folder.path().join("later.yaml")])).await;
    assert!(batch.changes.is_empty() && batch.findings.is_empty());
}

#[tokio::test]
async fn changes_are_noticed_however_a_file_is_saved() {
    let folder = folder();
    let path = folder.path().join("a.yaml");
    let mut files = files(&[&path]);
    assert_eq!(short(&next(&mut files).await), [""; 0]);

    fs::write(&path, entry("a", "a.com")).expect("written in place");
    assert_eq!(short(&next(&mut files).await), ["+a@1"]);
    // Same length, perhaps within the same tick of the clock.
    fs::write(&path, entry("a", "b.com")).expect("written in place");
    assert_eq!(short(&next(&mut files).await), ["+a@1"]);

    let saved = folder.path().join(".a.yaml.swp");
    fs::write(&saved, entry("b", "b.com")).expect("written beside");
    fs::rename(&saved, &path).expect("moved into place");
    assert_eq!(short(&next(&mut files).await), ["+b@1", "-a"]);

    fs::remove_file(&path).expect("removed");
    assert_eq!(short(&next(&mut files).await), ["-b"]);
    fs::write(&path, entry("c", "c.com")).expect("back again");
    assert_eq!(short(&next(&mut files).await), ["+c@1"]);
}

#[tokio::test]
async fn new_folders_are_followed() {
    let folder = folder();
    let mut files = files(&[folder.path()]);
    next(&mut files).await;
    let inner = folder.path().join("x/y");
    fs::create_dir_all(&inner).expect("folders");
    fs::write(inner.join("a.yaml"), entry("a", "a.com")).expect("written");
    assert_eq!(short(&next(&mut files).await), ["+a@1"]);
    // Gone and there again, of the same name.
    fs::remove_dir_all(folder.path().join("x")).expect("removed");
    assert_eq!(short(&next(&mut files).await), ["-a"]);
    fs::create_dir_all(&inner).expect("folders");
    fs::write(inner.join("b.yaml"), entry("b", "b.com")).expect("written");
    assert_eq!(short(&next(&mut files).await), ["+b@1"]);
    fs::write(inner.join("b.yaml"), entry("b", "c.com")).expect("written");
    assert_eq!(short(&next(&mut files).await), ["+b@1"]);
}

#[tokio::test]
async fn a_mounted_volume_swaps_its_content_at_once() {
    let volume = folder();
    let version = |n: u32, host: &str| {
        let content = volume.path().join(format!("..v{n}"));
        fs::create_dir(&content).expect("a folder");
        fs::write(content.join("a.yaml"), entry("a", host)).expect("written");
        let fresh = volume.path().join("..data_tmp");
        symlink(format!("..v{n}"), &fresh).expect("a link");
        fs::rename(&fresh, volume.path().join("..data")).expect("swapped");
    };
    version(1, "a.com");
    symlink("..data/a.yaml", volume.path().join("a.yaml")).expect("a link");
    let mut files = files(&[volume.path()]);
    assert_eq!(short(&next(&mut files).await), ["+a@1"]);
    version(2, "b.com");
    fs::remove_dir_all(volume.path().join("..v1")).expect("the old version goes");
    assert_eq!(short(&next(&mut files).await), ["+a@1"]);
    version(3, "c.com");
    assert_eq!(short(&next(&mut files).await), ["+a@1"]);
}

#[tokio::test]
async fn a_file_behind_a_link_is_followed_where_it_is() {
    let (folder, elsewhere) = (folder(), folder());
    let real = elsewhere.path().join("real");
    fs::write(&real, entry("a", "a.com")).expect("written");
    symlink(&real, folder.path().join("a.yaml")).expect("a link");
    let mut files = files(&[folder.path()]);
    assert_eq!(short(&next(&mut files).await), ["+a@1"]);
    fs::write(&real, entry("a", "b.com")).expect("written where it is");
    assert_eq!(short(&next(&mut files).await), ["+a@1"]);
}

#[tokio::test]
async fn what_is_malformed_keeps_its_last_good_form() {
    let folder = folder();
    let path = folder.path().join("a.yaml");
    let both = |b: &str| format!("{}---\n{b}", entry("a", "a.com"));
    fs::write(&path, both(&entry("b", "b.com"))).expect("written");
    let mut files = files(&[folder.path()]);
    assert_eq!(short(&next(&mut files).await), ["+a@1", "+b@11"]);

    // No YAML: nobody knows that it was about b.
    fs::write(&path, both("kind: [\n")).expect("written");
    let batch = next(&mut files).await;
    assert_eq!(short(&batch), ["!b"]);
    let errors = errors(&batch.changes[0]);
    assert!(errors[0].contains("while parsing") && errors[0].contains("a.yaml:1"), "{errors:?}");
    assert!(told(&batch)[0].starts_with("line 1"), "{:?}", told(&batch));
    assert!(batch.findings[0].render(false).contains("a.yaml"));

    // An object, but a wrong one; the line is the file's.
    let wrong = entry("b", "b.com").replace("number: 80", "number: 0");
    fs::write(&path, both(&wrong)).expect("written");
    let batch = next(&mut files).await;
    assert_eq!(short(&batch), ["!b"]);
    let FileChange::Invalid { errors, origin, .. } = &batch.changes[0] else { panic!("Invalid") };
    assert!(errors[0].contains("spec.ports[0].number"), "{errors:?}");
    assert!(errors[0].ends_with("a.yaml:18)"), "{errors:?}");
    assert_eq!(*origin, Origin::File { path: path.as_path().into(), line: 11 });
    assert!(told(&batch)[0].starts_with("line 18"), "{:?}", told(&batch));

    // Good again, as it was before: whoever heard that it is wrong has to hear that it is not any more. The
    // other one was good all the time.
    fs::write(&path, both(&entry("b", "b.com"))).expect("written");
    assert_eq!(short(&next(&mut files).await), ["+b@11"]);
    fs::write(&path, both("")).expect("written");
    assert_eq!(short(&next(&mut files).await), ["-b"]);
}

/// A field that no schema has is left out, and known with its line, also where nothing else of the file differs.
#[tokio::test]
async fn fields_that_no_schema_has_are_known_with_their_lines() {
    let folder = folder();
    let path = folder.path().join("a.yaml");
    let unknown = |batch: &Batch| match &batch.changes[..] {
        [FileChange::Put { object, .. }] => object.unknown.clone(),
        other => panic!("one object, not {other:?}"),
    };
    fs::write(&path, entry("a", "a.com")).expect("written");
    let mut files = files(&[folder.path()]);
    assert_eq!(unknown(&next(&mut files).await), [""; 0]);
    fs::write(&path, format!("{}  zzz: 1\n", entry("a", "a.com"))).expect("written");
    let told = format!("unknown field \"spec.zzz\" ({}:10)", path.display());
    assert_eq!(unknown(&next(&mut files).await), [told]);
    fs::write(&path, entry("a", "a.com")).expect("written");
    assert_eq!(unknown(&next(&mut files).await), [""; 0]);
}

#[tokio::test]
async fn only_faults_of_the_manifest_itself_are_told() {
    let folder = folder();
    let wrong = entry("a", "a.example").replace("hosts: [a.example]", "hosts: a.example");
    fs::write(folder.path().join("a.yaml"), wrong).expect("a manifest");
    let batch = next(&mut files(&[folder.path()])).await;
    let errors = errors(&batch.changes[0]);
    assert_eq!(errors.len(), 1, "what an API server adds is left out: {errors:?}");
    assert!(errors[0].contains("spec.hosts") && errors[0].ends_with("a.yaml:6)"), "{errors:?}");
}

#[tokio::test]
async fn a_typing_error_in_the_kind_removes_nothing() {
    let folder = folder();
    let path = folder.path().join("a.yaml");
    fs::write(&path, entry("a", "a.com")).expect("written");
    let mut files = files(&[folder.path()]);
    next(&mut files).await;
    fs::write(&path, entry("a", "a.com").replace("ServiceEntry", "ServiceEntri")).expect("written");
    let batch = next(&mut files).await;
    assert_eq!(short(&batch), ["!a"]);
    assert!(errors(&batch.changes[0])[0].contains("ServiceEntri"));
    assert!(told(&batch)[0].contains("ServiceEntri of networking.istio.io/v1 is not served here"));
}

#[tokio::test]
async fn what_an_earlier_process_read_is_told_to_be_gone_or_wrong() {
    let folder = folder();
    let there = |name: &str| folder.path().join(name);
    fs::write(there("a.yaml"), entry("a", "a.com")).expect("written");
    fs::write(there("b.yaml"), "kind: [\n").expect("written");
    fs::write(there("c.yaml"), entry("c", "c.com").replace("number: 80", "number: 0"))
        .expect("written");
    fs::write(there("d.yaml"), entry("other", "d.com")).expect("written");
    // Not to be read, and of no file any more.
    fs::create_dir(there("e.yaml")).expect("a folder");
    let pipe = there("p.yaml");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("a named pipe");
    let kept = ["a", "b", "c", "d", "e", "p"].map(|name| {
        let path = there(&format!("{name}.yaml")).into();
        let key = ObjectKey::new(tidegate_api::Kind::ServiceEntry, "default", name);
        (key, Origin::File { path, line: 1 })
    });
    let mut files = files(&[folder.path()]).holding(kept);
    let batch = next(&mut files).await;
    assert_eq!(short(&batch), ["+a@1", "!b", "!c", "+other@1", "-d", "-e", "!p"]);

    // Read for the first time, or gone after all.
    fs::write(there("b.yaml"), entry("b", "b.com")).expect("written");
    assert_eq!(short(&next(&mut files).await), ["+b@1"]);
    fs::remove_file(there("c.yaml")).expect("removed");
    assert_eq!(short(&next(&mut files).await), ["-c"]);
    fs::remove_file(&pipe).expect("removed");
    fs::write(&pipe, entry("p", "p.com")).expect("written");
    let mut seen = Vec::new();
    while !seen.contains(&"+p@1".to_owned()) {
        seen.extend(short(&next(&mut files).await));
    }
}

#[tokio::test]
async fn a_name_that_is_no_text_is_told_from_one_that_is_missing() {
    let folder = folder();
    let path = folder.path().join("a.yaml");
    // To YAML, as kubectl reads it, `n` is "no", and that is false.
    for (name, why) in [("n", "is no text: quote it"), ("1", "is no text"), ("''", "is missing")] {
        fs::write(&path, entry(name, "a.com")).expect("written");
        let batch = next(&mut files(&[folder.path()])).await;
        assert!(told(&batch)[0].contains(&format!("metadata.name {why}")), "{:?}", told(&batch));
    }
}

#[tokio::test]
async fn what_is_served_elsewhere_is_left_out_with_a_word() {
    let folder = folder();
    let foreign = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\n---\n";
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    \
        name: one\n    uid: abc\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: p, namespace: two}\n  \
        spec: {containers: [{name: c, image: i}]}\n  status: {podIP: 1.1.1.1}\n";
    fs::write(folder.path().join("a.yaml"), format!("{foreign}{list}")).expect("written");
    let batch = next(&mut files(&[folder.path()])).await;
    assert_eq!(told(&batch), ["line 2, column 1: Job of batch/v1 is not served here"]);
    assert_eq!(short(&batch), ["+one@8", "+p@13"]);
    let FileChange::Put { manifest, .. } = &batch.changes[0] else { panic!("a Put") };
    assert!(manifest["metadata"].get("uid").is_none(), "what a server says is left out");
    let FileChange::Put { manifest, .. } = &batch.changes[1] else { panic!("a Put") };
    assert_eq!(manifest["status"]["podIP"], "1.1.1.1");
}

#[tokio::test]
async fn the_last_of_one_name_counts() {
    let folder = folder();
    let twice = format!("{}---\n{}", entry("a", "a.com"), entry("a", "b.com"));
    fs::write(folder.path().join("a.yaml"), twice).expect("written");
    let batch = next(&mut files(&[folder.path()])).await;
    assert_eq!(short(&batch), ["+a@11"]);
    assert!(
        told(&batch)[0].contains("stands in line 1 too; this one counts"),
        "{:?}",
        told(&batch)
    );
}

#[tokio::test]
async fn words_of_writing_that_come_late_remove_nothing() {
    let folder = folder();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(format!("{name}.yaml")));
    fs::write(&a, entry("a", "a.com")).expect("written");
    fs::write(&b, entry("b", "b.com")).expect("written");
    let mut files = files(&[folder.path()]);
    assert_eq!(short(&next(&mut files).await), ["+a@1", "+b@1"]);

    // A shell has emptied b, and what is known is an earlier closing: of a, then of b itself.
    let mut writer = fs::File::create(&b).expect("emptied");
    fs::write(&a, entry("a", "c.com")).expect("written");
    let look = |files: &mut Files, closed: &Path| {
        let closed = [closed.canonicalize().expect("a file")].into();
        short(&files.look(&Touched { closed, ..Touched::default() }))
    };
    assert_eq!(look(&mut files, &a), ["+a@1"]);
    assert_eq!(look(&mut files, &b), [""; 0]);
    // In two pieces.
    let text = entry("b", "c.com");
    let (first, second) = text.split_at(text.find("spec").expect("a spec"));
    io::Write::write_all(&mut writer, first.as_bytes()).expect("written");
    assert_eq!(look(&mut files, &a), [""; 0]);
    io::Write::write_all(&mut writer, second.as_bytes()).expect("written");
    drop(writer);
    assert_eq!(short(&next(&mut files).await), ["+b@1"]);
}

#[tokio::test]
async fn an_emptied_file_that_is_closed_takes_its_objects_along() {
    let folder = folder();
    let path = folder.path().join("a.yaml");
    fs::write(&path, entry("a", "a.com")).expect("written");
    let mut files = files(&[folder.path()]);
    next(&mut files).await;
    fs::File::create(&path).expect("emptied");
    assert_eq!(short(&next(&mut files).await), ["-a"]);
}

#[tokio::test]
async fn other_files_of_the_folder_wake_nobody() {
    let folder = folder();
    let path = folder.path().join("manifest");
    fs::write(&path, entry("a", "a.com")).expect("written");
    let mut files = files(&[&path]);
    next(&mut files).await;
    fs::write(folder.path().join("access.log"), "x").expect("written");
    fs::write(&path, entry("b", "b.com")).expect("written");
    assert_eq!(short(&next(&mut files).await), ["+b@1", "-a"]);
}

#[tokio::test]
async fn what_is_no_file_is_told_and_not_waited_for() {
    let folder = folder();
    let pipe = folder.path().join("a.yaml");
    let cwd = rustix::fs::CWD;
    rustix::fs::mkfifoat(cwd, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .expect("a named pipe");
    fs::write(folder.path().join("b.yaml"), entry("b", "b.com")).expect("written");
    let batch = next(&mut files(&[folder.path(), &pipe])).await;
    assert_eq!(short(&batch), ["+b@1"]);
    assert_eq!(batch.findings.len(), 1, "{:?}", told(&batch));
    assert_eq!(*batch.findings[0].path, *pipe);
    assert!(told(&batch)[0].contains("not a regular file"), "{:?}", told(&batch));
    // Between the look at the folder and the read it may have become one.
    assert!(open::read(&pipe).is_err());
}

#[tokio::test]
async fn places_are_absolute() {
    let folder = tempfile::tempdir_in(".").expect("a folder here");
    let name = folder.path().file_name().expect("a name");
    fs::write(folder.path().join("a.yaml"), entry("a", "a.com")).expect("written");
    let batch = next(&mut files(&[Path::new(name)])).await;
    let FileChange::Put { object, .. } = &batch.changes[0] else { panic!("a Put") };
    let Origin::File { path, .. } = &object.origin else { panic!("a file") };
    assert!(path.is_absolute() && path.ends_with("a.yaml"), "{}", path.display());
}
