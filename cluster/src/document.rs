//! YAML and JSON text as a tree that remembers its lines.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::Spanned;
use std::fmt;

/// A value, and the line of its key, or of itself where it has none.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: u64,
    pub(crate) tree: Tree,
}

#[derive(Debug)]
pub(crate) enum Tree {
    Scalar(Value),
    Seq(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Text that is not YAML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) line: Option<u64>,
    pub(crate) problem: String,
}

/// Reads every document of the text; empty ones are left out. A key that stands twice in a mapping is an error.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, SyntaxError> {
    // The limits are against text that grows while it is read; a cluster's own list of pods may be long.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: 50_000_000, max_events: 100_000_000, max_documents: 100_000 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let line = error.location().map(|at| at.line()).filter(|line| *line > 0);
        let problem = match &error {
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => duplicate(key),
            other => format!("this is not valid YAML: {other}"),
        };
        SyntaxError { line, problem }
    })
}

fn duplicate(key: &str) -> String {
    match key {
        "apiVersion" | "kind" | "metadata" | "spec" => {
            format!("{key} stands twice in one document; write a line --- between two objects")
        }
        _ => format!("the key {key} stands twice in one mapping; remove one of them"),
    }
}

impl Node {
    /// The value without its lines.
    pub(crate) fn to_value(&self) -> Value {
        match &self.tree {
            Tree::Scalar(value) => value.clone(),
            Tree::Seq(items) => items.iter().map(Self::to_value).collect(),
            Tree::Map(fields) => fields.iter().map(|(name, node)| (name.clone(), node.to_value())).collect(),
        }
    }

    /// A field of a mapping.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        match &self.tree {
            Tree::Map(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// A field of a mapping that is a text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match &self.field(name)?.tree {
            Tree::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The line of what a JSON pointer names, or of the last of its parents that is there.
    pub(crate) fn line_of(&self, pointer: &str) -> u64 {
        let mut node = self;
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let next = match &node.tree {
                Tree::Seq(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => node.field(&step),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.line
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), tree: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Tree, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number must be finite"))?;
        Ok(Tree::Scalar(number.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Tree::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let mut node: Node = map.next_value()?;
            node.line = key.referenced.line();
            fields.push((key.value, node));
        }
        Ok(Tree::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_keys() {
        let text = "# two documents\na: 1\nb:\n  - c: x\n    d:\n      e: [1,\n        2]\n---\n\na: ~\n";
        let documents = read(text).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].line, 2);
        assert_eq!(documents[0].line_of("/b/0/d/e/1"), 7);
        assert_eq!(documents[0].line_of("/b/0/d/missing"), 5);
        assert_eq!(documents[0].line_of("/b/0"), 4);
        assert_eq!(documents[1].line_of("/a"), 10);
        assert_eq!(documents[0].to_value(), serde_json::json!({"a": 1, "b": [{"c": "x", "d": {"e": [1, 2]}}]}));
    }

    #[test]
    fn scalars_keep_their_types() {
        let text =
            "{i: 80, s: \"80\", b: true, y: yes, on: on, n: null, t: ~, f: 1.5, v: 1.2.3, ip: 10.0.0.1, h: 0x10}";
        let value = read(text).unwrap()[0].to_value();
        let expected = serde_json::json!({
            "i": 80, "s": "80", "b": true, "y": "yes", "on": "on", "n": null, "t": null, "f": 1.5,
            "v": "1.2.3", "ip": "10.0.0.1", "h": 16
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_broken_document_names_its_line() {
        let error = read("a: 1\nb: [1, 2\n").unwrap_err();
        assert!(error.line.is_some(), "{error:?}");
        let error = read("kind: A\nspec: {}\nkind: B\n").unwrap_err();
        assert_eq!(error.line, Some(3));
        assert!(error.problem.contains("---"), "{error:?}");
        let error = read("a:\n  b: 1\n  b: 2\n").unwrap_err();
        assert_eq!((error.line, error.problem.contains("b stands twice")), (Some(3), true));
        assert!(read("").unwrap().is_empty());
        assert!(read("---\n# nothing\n---\n").unwrap().is_empty());
    }

    #[test]
    fn references_that_multiply_are_stopped() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb += &format!("a{i}: &a{i} [{refs}]\n");
        }
        assert!(read(&bomb).is_err());
    }
}
