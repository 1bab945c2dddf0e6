//! Label selectors: `a=b,c!=d,e in (x,y),f notin (z),g,!h,n>1`.

use std::collections::BTreeSet;

use tidegate_api::validation::names;

/// A parsed label selector; the empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// # Errors
    ///
    /// What could not be understood, in the words of Kubernetes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(text), at: 0 };
        let mut requirements = Vec::new();
        if parser.peek().is_some() {
            loop {
                requirements.push(parser.requirement()?);
                match parser.next() {
                    None => break,
                    Some(Token::Sign(",")) => {}
                    Some(other) => {
                        return Err(format!(
                            "found '{}', expected: ',' or 'end of string'",
                            other.text()
                        ));
                    }
                }
            }
        }
        Ok(Self(requirements))
    }

    /// Whether an object with these labels is selected.
    pub(crate) fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| {
            let value = label(&requirement.key);
            match &requirement.test {
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::Greater(bound) => number(value).is_some_and(|value| value > *bound),
                Test::Less(bound) => number(value).is_some_and(|value| value < *bound),
            }
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn number(value: Option<&str>) -> Option<i64> {
    value?.parse().ok()
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(&'a str),
}

impl<'a> Token<'a> {
    fn text(&self) -> &'a str {
        match self {
            Self::Word(text) | Self::Sign(text) => text,
        }
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let sign = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"]
            .into_iter()
            .find(|sign| rest.starts_with(sign));
        let length = match sign {
            Some(sign) => sign.len(),
            None => rest
                .find(|c: char| c.is_whitespace() || "=!(),><".contains(c))
                .unwrap_or(rest.len()),
        };
        let (token, tail) = rest.split_at(length);
        tokens.push(match sign {
            Some(_) => Token::Sign(token),
            None => Token::Word(token),
        });
        rest = tail.trim_start();
    }
    tokens
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.peek() == Some(&Token::Sign("!")) {
            self.next();
            let key = self.key()?;
            return Ok(Requirement { key, test: Test::Absent });
        }
        let key = self.key()?;
        let test = match self.peek().map(Token::text) {
            None | Some(",") => Test::Exists,
            Some("in") => {
                self.next();
                Test::In(self.values()?)
            }
            Some("notin") => {
                self.next();
                Test::NotIn(self.values()?)
            }
            Some("=" | "==") => {
                self.next();
                Test::In(self.value()?)
            }
            Some("!=") => {
                self.next();
                Test::NotIn(self.value()?)
            }
            Some(sign @ (">" | "<")) => {
                let greater = sign == ">";
                self.next();
                let bound = self.bound()?;
                if greater { Test::Greater(bound) } else { Test::Less(bound) }
            }
            Some(other) => {
                return Err(format!(
                    "unable to parse requirement: found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        };
        Ok(Requirement { key, test })
    }

    fn key(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Word(key)) => match names::qualified_name(key) {
                Ok(()) => Ok(key.to_owned()),
                Err(fault) => Err(format!(
                    "unable to parse requirement: <nil>: Invalid value: {key:?}: {fault}"
                )),
            },
            found => Err(format!(
                "unable to parse requirement: found '{}', expected: identifier",
                found.map_or("", |token| token.text())
            )),
        }
    }

    /// One value after `=`; none means the empty value.
    fn value(&mut self) -> Result<BTreeSet<String>, String> {
        let value = match self.peek() {
            Some(Token::Word(value)) => *value,
            None | Some(Token::Sign(",")) => "",
            Some(other) => {
                return Err(format!(
                    "unable to parse requirement: found '{}', expected: identifier",
                    other.text()
                ));
            }
        };
        if !value.is_empty() {
            self.next();
        }
        checked(value).map(|value| BTreeSet::from([value]))
    }

    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        let expect = |token: Option<Token<'a>>, sign: &str| match token {
            Some(Token::Sign(found)) if found == sign => Ok(()),
            other => Err(format!(
                "unable to parse requirement: found '{}', expected: '{sign}'",
                other.map_or("", |token| token.text())
            )),
        };
        expect(self.next(), "(")?;
        let mut values = BTreeSet::new();
        loop {
            let value = match self.peek() {
                Some(Token::Word(value)) => *value,
                _ => "",
            };
            if !value.is_empty() {
                self.next();
            }
            values.insert(checked(value)?);
            match self.next() {
                Some(Token::Sign(",")) => {}
                end => {
                    expect(end, ")")?;
                    return Ok(values);
                }
            }
        }
    }

    fn bound(&mut self) -> Result<i64, String> {
        let word = self.next().map_or("", |token| token.text());
        word.parse().map_err(|_| {
            format!("unable to parse requirement: values[0]: Invalid value: {word:?}: for 'Gt', 'Lt' operators, the value must be an integer")
        })
    }
}

fn checked(value: &str) -> Result<String, String> {
    match names::label_value(value) {
        Ok(()) => Ok(value.to_owned()),
        Err(fault) => Err(format!(
            "unable to parse requirement: values[0][]: Invalid value: {value:?}: {fault}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        LabelSelector::parse(selector).expect(selector).matches(|key| labels.get(key).copied())
    }

    #[test]
    fn selects_as_kubernetes_does() {
        let object = [("app", "web"), ("tier", "2")];
        for (selector, expected) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("app=web", true),
            ("app==web, tier=2", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("missing notin (x, y)", true),
            ("app in (api,web)", true),
            ("app in ()", false),
            ("tier>1", true),
            ("tier<2", false),
            ("app>1", false),
            ("app=", false),
        ] {
            assert_eq!(selects(selector, &object), expected, "{selector}");
        }
        assert!(selects("empty=", &[("empty", "")]));
    }

    #[test]
    fn says_what_it_does_not_understand() {
        for (selector, message) in [
            (
                "bad key!=x",
                "unable to parse requirement: found 'key', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("=x", "unable to parse requirement: found '=', expected: identifier"),
        ] {
            assert_eq!(LabelSelector::parse(selector), Err(message.to_owned()));
        }
        for selector in ["a in", "a in (", "a in (x", "a=b=c", "!", ",", "a>b", "a/b/c=1"] {
            assert!(LabelSelector::parse(selector).is_err(), "{selector}");
        }
    }
}
