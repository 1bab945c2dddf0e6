//! Chores.

mod descriptors;
mod workspace;

fn main() -> anyhow::Result<()> {
    descriptors::run(&workspace::Workspace::load()?, false)
}
