//! Tokens whose signature a worker has verified before.
//!
//! A token counts as verified only byte by byte as it was, and only by the key set that verified it: when the set changes,
//! everything is verified again. Times, audiences and the rest are judged each time.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use super::keys::KeySet;
use super::token::Token;

/// The tokens of one provider. Those that were not seen for as long as it takes to see as many others as it keeps go.
#[derive(Debug)]
pub struct TokenCache {
    /// Most tokens in each of the two parts.
    half: usize,
    /// Most bytes of a token.
    longest: usize,
    keys: Option<Arc<KeySet>>,
    young: HashMap<Box<[u8]>, Arc<Token>>,
    old: HashMap<Box<[u8]>, Arc<Token>>,
}

impl TokenCache {
    /// A cache of so many tokens, of so many bytes each at most.
    #[must_use]
    pub fn new(tokens: usize, longest: usize) -> Self {
        let (young, old) = Default::default();
        Self { half: tokens.div_ceil(2), longest, keys: None, young, old }
    }

    /// The token, if these keys have verified it.
    pub fn get(&mut self, text: &[u8], keys: &Arc<KeySet>) -> Option<Arc<Token>> {
        if !self.keys.as_ref().is_some_and(|known| Arc::ptr_eq(known, keys)) {
            self.young.clear();
            self.old.clear();
            self.keys = Some(Arc::clone(keys));
        }
        if let Some(token) = self.young.get(text) {
            return Some(Arc::clone(token));
        }
        let (text, token) = self.old.remove_entry(text)?;
        self.put(text, &token);
        Some(token)
    }

    /// Keeps a token that the keys of the last [`Self::get`] have verified.
    pub fn insert(&mut self, text: &[u8], token: &Arc<Token>) {
        if text.len() <= self.longest && self.half > 0 {
            self.put(text.into(), token);
        }
    }

    fn put(&mut self, text: Box<[u8]>, token: &Arc<Token>) {
        if self.young.len() >= self.half {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(text, Arc::clone(token));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use tidegate_testing::jwt::Signer;

    #[test]
    fn tokens_are_kept_for_their_keys_and_not_without_bound() {
        let signer = Signer::new("HS256");
        let set = || Arc::new(KeySet::parse(signer.set().as_bytes()).expect("a set"));
        let text = signer.token(&json!({"alg": "HS256"}), &json!({}));
        let token = Arc::new(Token::parse(text.as_bytes()).expect("a token"));
        let (keys, others) = (set(), set());
        let mut cache = TokenCache::new(4, 10);
        assert!(cache.get(b"a", &keys).is_none());
        cache.insert(b"a", &token);
        cache.insert(b"longer than 10", &token);
        assert!(cache.get(b"a", &keys).is_some_and(|found| Arc::ptr_eq(&found, &token)));
        assert!(cache.get(b"longer than 10", &keys).is_none());
        assert!(cache.get(b"A", &keys).is_none());
        // One that is asked for stays, whatever else comes.
        for number in 0..20_u8 {
            cache.insert(&[number], &token);
            assert!(cache.get(b"a", &keys).is_some());
            assert!(cache.young.len() + cache.old.len() <= 4);
        }
        assert!(cache.get(&[0], &keys).is_none());
        assert!(cache.get(b"a", &others).is_none());
        assert!(cache.get(b"a", &keys).is_none());
    }
}
