//! A radix tree over bytes: the longest of many keys that a path begins with, in one walk along the path.

/// Keys with a number each.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// Whether keys are in lower case and paths are compared as if they were.
    fold: bool,
}

#[derive(Debug, Default)]
struct Node {
    /// The bytes between the parent's key and this one's.
    label: Box<[u8]>,
    /// First byte of the label and place of each child, sorted.
    children: Vec<(u8, u32)>,
    /// The number, if a key ends here.
    value: Option<u32>,
}

impl Tree {
    /// An empty tree; `fold` for one that compares without case.
    pub fn new(fold: bool) -> Self {
        Self { nodes: vec![Node::default()], fold }
    }

    /// Adds a key, in lower case when the tree folds.
    pub fn insert(&mut self, key: &[u8], value: u32) {
        let mut node = 0_usize;
        let mut rest = key;
        while let Some(&first) = rest.first() {
            let children = &self.nodes[node].children;
            match children.binary_search_by_key(&first, |child| child.0) {
                Err(place) => {
                    let leaf = self.push(rest);
                    self.nodes[node].children.insert(place, (first, leaf));
                    node = leaf as usize;
                    break;
                }
                Ok(place) => {
                    let child = children[place].1 as usize;
                    let shared = common_prefix(&self.nodes[child].label, rest);
                    if shared < self.nodes[child].label.len() {
                        self.split(child, shared);
                    }
                    rest = &rest[shared..];
                    node = child;
                }
            }
        }
        self.nodes[node].value = Some(value);
    }

    fn push(&mut self, label: &[u8]) -> u32 {
        self.nodes.push(Node { label: label.into(), ..Node::default() });
        (self.nodes.len() - 1) as u32
    }

    /// Cuts a node's label after `at` bytes; what was below it moves to a new child.
    fn split(&mut self, node: usize, at: usize) {
        let whole = std::mem::take(&mut self.nodes[node]);
        let lower = self.nodes.len() as u32;
        self.nodes[node].label = whole.label[..at].into();
        self.nodes[node].children = vec![(whole.label[at], lower)];
        self.nodes.push(Node { label: whole.label[at..].into(), ..whole });
    }

    /// The number of the longest key that `path` begins with.
    pub fn longest(&self, path: &[u8]) -> Option<u32> {
        let mut node = &self.nodes[0];
        let mut found = node.value;
        let mut rest = path;
        while let Some(&next) = rest.first() {
            let first = if self.fold { next.to_ascii_lowercase() } else { next };
            let Ok(place) = node.children.binary_search_by_key(&first, |child| child.0) else {
                break;
            };
            let child = &self.nodes[node.children[place].1 as usize];
            let Some((part, after)) = rest.split_at_checked(child.label.len()) else {
                break;
            };
            let equal =
                part == &child.label[..] || self.fold && part.eq_ignore_ascii_case(&child.label);
            if !equal {
                break;
            }
            found = child.value.or(found);
            node = child;
            rest = after;
        }
        found
    }
}

fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_key_is_found() {
        let keys = ["/b", "/api/v1", "/api", "", "/api/v2/x", "/apix", "/api/v1/"];
        let mut tree = Tree::new(false);
        for (number, key) in keys.iter().enumerate() {
            tree.insert(key.as_bytes(), number as u32);
        }
        for path in [
            "/",
            "/b",
            "/ap",
            "/api",
            "/api/",
            "/api/v1",
            "/api/v1/z",
            "/api/v2",
            "/apixy",
            "x",
            "",
        ] {
            let expected = (0..keys.len())
                .filter(|&at| path.starts_with(keys[at]))
                .max_by_key(|&at| keys[at].len())
                .map(|at| at as u32);
            assert_eq!(tree.longest(path.as_bytes()), expected, "{path}");
        }
        assert_eq!(Tree::new(false).longest(b"/"), None);
    }

    #[test]
    fn a_folding_tree_ignores_the_case_of_paths() {
        let mut tree = Tree::new(true);
        tree.insert(b"/api", 1);
        tree.insert(b"/api/users", 2);
        assert_eq!(tree.longest(b"/API/Users/1"), Some(2));
        assert_eq!(tree.longest(b"/Api"), Some(1));
        assert_eq!(tree.longest(b"/ap"), None);
    }
}
