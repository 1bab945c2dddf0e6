# The verbs that people type. Each is one line into cargo or xtask.

# list the verbs
default:
    @just --list

# everything in one process, with origins to try it on
up *args:
    cargo run --release -- up --demo {{args}}

# format, layering, dependencies, committed files, clippy
check *steps:
    cargo xtask check {{steps}}

# all tests; the tools they need are fetched
test *args:
    cargo xtask test {{args}}

# the tests of one crate: just crate proxy
crate name *args:
    cargo test -p tidegate-{{name}} {{args}}

# format every crate
fmt:
    cargo fmt --all

# every fuzz target for some seconds
fuzz *args:
    cargo xtask fuzz {{args}}

# acceptance cases against the lists of known failures
corpus *suites:
    cargo xtask corpus {{suites}}

# write golden files again
golden *args:
    cargo xtask golden {{args}}

# beside Envoy and nginx
bench *args:
    cargo xtask bench {{args}}

# Envoy's types from crates/envoy/protos.txt
descriptors:
    cargo xtask descriptors

# everything that CI runs
ci:
    .ci/run
