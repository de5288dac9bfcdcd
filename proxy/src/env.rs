//! The environment, read once, every mistake named: variable, value and the form that is wanted.
//!
//! `variables` is the list of what there is; reading, the documentation and the warnings about the rest come from it.

mod page;
mod value;
mod variables;

pub use page::page;
pub(crate) use value::{LogFilter, LogFormat, Value, Workload};

use std::collections::BTreeMap;
use std::fmt::Display;
use thiserror::Error;
use variables::Effect;

/// What every variable's name begins with.
pub(crate) const PREFIX: &str = "LINKERD2_PROXY_";

/// Every mistake of an environment, one a line.
#[derive(Debug, Error)]
#[error("{}", .0.join("\n"))]
pub struct InvalidEnvironment(pub Vec<String>);

/// Reads `LINKERD2_PROXY_*` variables and collects the mistakes.
pub(crate) struct Environment<'a> {
    variables: &'a BTreeMap<String, String>,
    mistakes: Vec<String>,
}

impl<'a> Environment<'a> {
    pub(crate) fn new(variables: &'a BTreeMap<String, String>) -> Self {
        Self { variables, mistakes: Vec::new() }
    }

    /// Ends reading; `value` stands only if there was no mistake, of a variable without effect neither.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, InvalidEnvironment> {
        for (name, text) in self.set() {
            if let Some(variable) = variables::find(name).filter(|variable| variable.effect != Effect::Now)
                && !(variable.accepts)(text)
            {
                self.mistake(name, format_args!("{text:?} is not {}", variable.form));
            }
        }
        match value {
            Some(value) if self.mistakes.is_empty() => Ok(value),
            _ => Err(InvalidEnvironment(self.mistakes)),
        }
    }

    /// A sentence for each variable that is set and has no effect.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let warning = |(name, _)| match variables::find(name).map(|variable| variable.effect) {
            Some(Effect::Now) => None,
            Some(Effect::Later) => Some(format!("{PREFIX}{name} is accepted and has no effect yet")),
            Some(Effect::Never) => Some(format!("{PREFIX}{name} is accepted and has no effect")),
            None => Some(format!("{PREFIX}{name} is no variable of this proxy and has no effect")),
        };
        self.set().filter_map(warning).collect()
    }

    /// Every variable that is set; empty counts as unset.
    fn set(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let set = self.variables.iter().filter(|(_, value)| !value.trim().is_empty());
        set.filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.trim())))
    }

    /// Whether the variable is set.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.set().any(|(set, _)| set == name)
    }

    pub(crate) fn mistake(&mut self, name: &str, why: impl Display) {
        let mistake = format!("{PREFIX}{name}: {why}");
        // What two parts read is wrong once.
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// A variable, or its default.
    pub(crate) fn value<T: Value>(&mut self, name: &str) -> T {
        let default = variables::find(name).map_or("", |variable| variable.default);
        // After a mistake the default only fills the place: nothing starts.
        self.optional(name).or_else(|| T::parse(default)).expect("a test parses every default")
    }

    /// A variable that may be unset.
    pub(crate) fn optional<T: Value>(&mut self, name: &str) -> Option<T> {
        debug_assert_eq!(variables::find(name).map(|variable| variable.form), Some(T::FORM), "{name} is in the table");
        let (_, text) = self.set().find(|(set, _)| *set == name)?;
        let value = T::parse(text);
        if value.is_none() {
            self.mistake(name, format_args!("{text:?} is not {}", T::FORM));
        }
        value
    }

    /// A variable that must be set.
    pub(crate) fn required<T: Value>(&mut self, name: &str) -> Option<T> {
        if !self.has(name) {
            self.mistake(name, format_args!("is not set; set it to {}", T::FORM));
        }
        self.optional(name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Each name, and what its value must pass.
    pub(crate) fn each_variable() -> impl Iterator<Item = (String, fn(&str) -> bool)> {
        variables::VARIABLES.iter().flat_map(|variable| variable.names().map(|name| (name, variable.accepts)))
    }
}
