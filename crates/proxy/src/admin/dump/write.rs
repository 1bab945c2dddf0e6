//! Writing a dump piece by piece.

use super::super::answer::{Pieces, pretty};
use super::mask::Mask;
use super::sections::{Item, List, Part, Section, redacted};

/// What is written next.
enum Step {
    Text(String),
    /// A message: how deep it stands, and what follows it.
    Message {
        item: Item,
        depth: usize,
        field: Option<&'static str>,
        end: &'static str,
    },
}

/// `{"configs": [SECTION, …]}`
pub(super) fn sections(sections: Vec<Section>) -> Pieces {
    let mut steps = vec![Step::Text("{\n \"configs\": [".to_owned())];
    for (index, section) in sections.into_iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let type_url = section.type_url;
        steps.push(Step::Text(format!("{comma}\n  {{\n   \"@type\": \"{type_url}\"")));
        for part in section.parts {
            match part {
                Part::Field(name, item) => {
                    steps.push(Step::Text(",\n".to_owned()));
                    steps.push(Step::Message { item, depth: 3, field: Some(name), end: "" });
                }
                Part::List(list) => {
                    if !list.items.is_empty() {
                        steps.push(Step::Text(format!(",\n   \"{}\": [\n", list.name)));
                        elements(list, 4, &mut steps);
                        steps.push(Step::Text("   ]".to_owned()));
                    }
                }
            }
        }
        steps.push(Step::Text("\n  }".to_owned()));
    }
    steps.push(Step::Text("\n ]\n}\n".to_owned()));
    gather(steps)
}

/// `{"configs": [ELEMENT, …]}` for the elements of one list.
pub(super) fn list(list: Option<List>, mask: &Mask) -> Pieces {
    let Some(mut list) = list.filter(|list| !list.items.is_empty()) else {
        return Pieces::one(b"{}\n".to_vec());
    };
    let element = list.element;
    list.mask(mask);
    for item in &mut list.items {
        item.type_url = Some(element);
    }
    let mut steps = vec![Step::Text("{\n \"configs\": [\n".to_owned())];
    elements(list, 2, &mut steps);
    steps.push(Step::Text(" ]\n}\n".to_owned()));
    gather(steps)
}

fn elements(list: List, depth: usize, steps: &mut Vec<Step>) {
    let last = list.items.len().saturating_sub(1);
    for (index, item) in list.items.into_iter().enumerate() {
        let end = if index < last { ",\n" } else { "\n" };
        steps.push(Step::Message { item, depth, field: None, end });
    }
}

fn gather(steps: Vec<Step>) -> Pieces {
    Pieces::gathered(steps.into_iter().map(|step| match step {
        Step::Text(text) => text,
        Step::Message { item, depth, field, end } => {
            let value = redacted(item);
            let text = pretty(&value, depth);
            match field {
                None => text + end,
                Some(name) => {
                    format!("{:depth$}\"{name}\": {}{end}", "", text.trim_start_matches(' '))
                }
            }
        }
    }))
}
