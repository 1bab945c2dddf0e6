//! Manifests of ServiceEntries, which differ in a few words.

/// A document with the ServiceEntry of a host, called as the host, with one port of a protocol; `rest` is what else its spec says, a
/// line each.
pub fn service_entry(host: &str, (port, protocol): (u16, &str), rest: &[&str]) -> String {
    let name = protocol.to_ascii_lowercase();
    let rest: String = rest.iter().map(|line| format!("  {line}\n")).collect();
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {}}}\nspec:\n  hosts: ['{host}']\n  \
         ports: [{{number: {port}, name: {name}, protocol: {protocol}}}]\n{rest}",
        host.replace('*', "any"),
    )
}

/// The same in a namespace.
pub fn in_namespace(namespace: &str, manifest: &str) -> String {
    manifest.replace("metadata: {", &format!("metadata: {{namespace: {namespace}, "))
}
