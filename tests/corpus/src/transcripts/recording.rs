//! The form of a transcript: what a client asked a real API server, and what that answered.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// What one client asked, in its order.
#[derive(Deserialize)]
pub struct Transcript {
    pub name: String,
    pub exchanges: Vec<Exchange>,
}

/// A request and its answer.
#[derive(Deserialize)]
pub struct Exchange {
    pub request: Request,
    pub response: Answer,
}

#[derive(Deserialize)]
pub struct Request {
    pub method: String,
    pub path: String,
    #[serde(default)]
    pub query: BTreeMap<String, Values>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: Value,
}

/// A parameter or a header field that stands once, or several times.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum Values {
    One(String),
    Several(Vec<String>),
}

impl Values {
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }
}

#[derive(Deserialize)]
pub struct Answer {
    pub status: u16,
    #[serde(default)]
    pub headers: BTreeMap<String, Values>,
    /// Not there for a watch.
    #[serde(default)]
    pub body: Value,
    /// What a watch told.
    #[serde(default)]
    pub watch: Option<Vec<Told>>,
    /// The recording changed this answer on purpose, so that it says nothing of the server.
    #[serde(default)]
    pub synthetic: bool,
}

/// A line of a watch.
#[derive(Deserialize)]
pub struct Told {
    pub event: Value,
}

/// A group of transcripts. They follow each other as they were recorded, since the later ones ask for what
/// the earlier ones made.
#[derive(Clone, Copy, Debug)]
pub enum Group {
    /// kubectl's requests of the guides; their names are numbered.
    Seeds,
    /// Direct requests, by the least revision that they saw; those that saw none come behind the rest.
    Raw,
    /// Client libraries, each by itself.
    Clients,
}

impl Group {
    /// In the order that they were recorded in.
    pub const ALL: [Self; 3] = [Self::Seeds, Self::Raw, Self::Clients];

    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Whether the objects that it shows were made by requests of it, or of those before it. Clients met objects, too, that were
    /// made by commands whose requests are not replayed.
    pub fn has_its_objects(self) -> bool {
        !matches!(self, Self::Clients)
    }

    /// Reads its transcripts, of the folder of all groups.
    pub fn read(self, folder: &Path) -> Result<Vec<Transcript>> {
        let mut found = Vec::new();
        for file in files(&folder.join(self.name()))? {
            let text = fs::read_to_string(&file)?;
            let mut transcript: Transcript =
                serde_json::from_str(&text).with_context(|| file.display().to_string())?;
            for exchange in &mut transcript.exchanges {
                fetch(&mut exchange.response.body, folder)?;
            }
            found.push((self.first(&transcript), transcript));
        }
        found.sort_by(|one, other| (one.0, &one.1.name).cmp(&(other.0, &other.1.name)));
        Ok(found.into_iter().map(|(_, transcript)| transcript).collect())
    }

    fn first(self, transcript: &Transcript) -> u64 {
        let revision = |one: &Exchange| -> Option<u64> {
            one.response.body["metadata"]["resourceVersion"].as_str()?.parse().ok()
        };
        match self {
            Self::Raw => transcript.exchanges.iter().filter_map(revision).min().unwrap_or(u64::MAX),
            Self::Seeds | Self::Clients => 0,
        }
    }
}

/// Long contents stand in files of their own, beside the folder of transcripts.
fn fetch(body: &mut Value, transcripts: &Path) -> Result<()> {
    let Some(file) = body["$file"].as_str() else { return Ok(()) };
    let file = transcripts.join("..").join(file);
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    // A watch is lines of JSON, which are not read further.
    *body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
