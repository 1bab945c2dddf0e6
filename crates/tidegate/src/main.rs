//! The binary: verbs, wiring, signals. It connects the layers and holds no rules of its own.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | the command line: flags become typed values here, and nowhere else |
//! | [`up`] | `tidegate up`: API, control loop and data plane in one process |
//! | [`api_server`] | `tidegate api`: the API alone, and what `up` shares with it |
//! | [`proxy`] | `tidegate proxy`: the data plane alone |
//! | [`sidecar`] | `tidegate sidecar`: control loop and data plane of one workload |
//! | [`run`] | `tidegate run`: a command in a network of its own, with a sidecar around it |
//! | [`explain`] | `tidegate explain`: one decision, from manifests or from the running process |
//! | [`analyze`] | `tidegate analyze`: what is wrong with objects |
//! | [`api`] | asking the API of a running process |
//! | [`objects`] | reading and writing objects of an API server |
//! | [`events`] | what is said of objects, through an API |
//! | [`control`] | the control loop: objects in, resources out, what is found out back |
//! | [`files`] | manifests from `-f`, into a store |
//! | [`data_plane`] | running the proxy on a snapshot, for both |
//! | [`lifecycle`] | what signals do, for both |
//! | [`demo`] | built-in origins for the first five minutes |
//! | [`failure`], [`terminal`] | what a verb says when it cannot go on, and where |

mod about;
mod addresses;
mod admin;
mod analyze;
mod api;
mod api_server;
mod capture;
mod cli;
mod control;
mod data_dir;
mod data_plane;
mod demo;
mod ended;
mod events;
mod explain;
mod failure;
mod files;
mod handing_in;
mod http_server;
mod lifecycle;
mod listen;
mod manifests;
mod mesh;
mod objects;
mod programs;
mod proxy;
mod run;
mod sidecar;
mod signals;
mod terminal;
mod up;
mod webhook;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
