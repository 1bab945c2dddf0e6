//! A bootstrap file, from its text to what the proxy would serve.

use tidegate_proxy::config::{Applier, Bootstrap};

/// Reads `data` as `tidegate proxy -c` does, and applies what it holds.
///
/// - whatever is refused is refused by its path and with a reason;
/// - what is served is not applied again.
///
/// # Panics
/// When one of these does not hold.
pub fn bootstrap(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(Ok(document)) = tidegate_yaml::parse(text).into_iter().next() else { return };
    let bootstrap = match Bootstrap::load(&document.to_json()) {
        Ok(bootstrap) => bootstrap,
        Err(error) => {
            assert!(!error.refusals.is_empty());
            assert!(error.refusals.iter().all(|refusal| !refusal.reason.is_empty()));
            return;
        }
    };
    let mut applier = Applier::new(None);
    applier.apply(&bootstrap.update);
    let verdict = applier.verdict();
    for rejection in &verdict.rejected {
        let refusal = bootstrap.place(rejection);
        assert!(refusal.path.starts_with("static_resources."), "{refusal}");
        assert!(!refusal.reason.is_empty(), "{refusal}");
    }
    let again = applier.apply(&bootstrap.update);
    assert!(again.listeners.put.is_empty() || !verdict.rejected.is_empty(), "applied twice");
    assert_eq!(applier.verdict().rejected, verdict.rejected);
}
