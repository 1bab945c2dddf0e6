//! The API alone: `cargo run -p tidegate-apiserver --example serve -- DIR [ADDRESS]`.
//!
//! Keeps its state in DIR, prints where the kubeconfig is, and serves until it is interrupted. Nothing is
//! compiled and no traffic is carried: for trying clients against the API.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_apiserver::store::{self, Store};
use tidegate_apiserver::{NoContainers, Server, rest};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("usage: serve DIR [ADDRESS]")?);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:0".into()).parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store = Store::open(&dir, store::Options::default())?;
    runtime.block_on(async {
        let options = rest::Options::new(listen, dir);
        let server = Server::start(options, store.clone(), Arc::new(NoContainers)).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "export KUBECONFIG={}", server.kubeconfig().display())?;
        out.flush()?;
        drop(out);
        tokio::signal::ctrl_c().await?;
        server.shutdown().await;
        store.close().await;
        Ok(())
    })
}
