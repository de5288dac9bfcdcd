//! Which route of a policy a request takes (A.2.2: the order of the Gateway API).

use outrigger_model::{
    HeaderMatch, HostMatch, InboundRoute, Meta, OutboundRoute, PathMatch, QueryMatch, RouteMatch, TlsRoute, ValueMatch,
};
use regex::bytes::Regex;
use std::sync::Arc;
use thiserror::Error;

/// What a route may ask of a request, in any version of HTTP.
pub trait Head {
    fn method(&self) -> &str;
    /// `http`, unless the request says otherwise.
    fn scheme(&self) -> &str;
    /// The host that is asked for, perhaps with a port.
    fn authority(&self) -> Option<&str>;
    /// The host that is asked for, without port.
    fn host(&self) -> Option<&str> {
        self.authority().map(host_of)
    }
    /// Without query.
    fn path(&self) -> &str;
    /// Without question mark.
    fn query(&self) -> &str;
    /// The identity that the server must have (`l5d-require-id`, A.1.9).
    fn required_id(&self) -> Option<&[u8]> {
        self.values("l5d-require-id").next()
    }
    /// Every value of a field; the name is lower-cased.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
}

/// A regular expression of a route that does not compile.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("route {route}: {text:?} is no regular expression: {why}")]
pub struct InvalidRegex {
    route: String,
    text: String,
    why: String,
}

/// A route, inbound or outbound, as far as choosing it goes.
pub trait Route {
    fn meta(&self) -> &Meta;
    /// Empty: every host.
    fn hosts(&self) -> &[HostMatch];
    /// The matches of each rule; a rule without any takes every request.
    fn rules(&self) -> impl Iterator<Item = &[RouteMatch]>;
}

impl Route for InboundRoute {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn hosts(&self) -> &[HostMatch] {
        &self.hosts
    }

    fn rules(&self) -> impl Iterator<Item = &[RouteMatch]> {
        self.rules.iter().map(|rule| &rule.matches[..])
    }
}

impl Route for OutboundRoute {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn hosts(&self) -> &[HostMatch] {
        &self.hosts
    }

    fn rules(&self) -> impl Iterator<Item = &[RouteMatch]> {
        self.rules.iter().map(|rule| &rule.matches[..])
    }
}

/// A policy's routes, compiled once.
#[derive(Debug, Clone)]
pub struct Routes<R> {
    routes: Arc<[R]>,
    /// For each match of each rule of each route, in that order.
    matches: Vec<CompiledMatch>,
}

#[derive(Debug, Clone)]
struct CompiledMatch {
    route: usize,
    rule: usize,
    path: Option<Path>,
    fields: Vec<(Arc<str>, Value)>,
    query: Vec<(Arc<str>, Value)>,
    method: Option<Arc<str>>,
}

#[derive(Debug, Clone)]
enum Path {
    Exact(Arc<str>),
    Prefix(Arc<str>),
    Regex(Regex),
}

#[derive(Debug, Clone)]
enum Value {
    Exact(Arc<str>),
    Regex(Regex),
}

/// How specific a match is; the greater wins, of equals the first.
type Rank = (usize, (u8, usize), bool, usize, usize);

impl<R: Route> Routes<R> {
    /// Compiles every expression; one that does not compile makes the whole policy unusable.
    pub fn compile(routes: Arc<[R]>) -> Result<Self, InvalidRegex> {
        let mut matches = Vec::new();
        for (route, of) in routes.iter().enumerate() {
            for (rule, rules) in of.rules().enumerate() {
                let everything = [RouteMatch::default()];
                let rules = if rules.is_empty() { &everything[..] } else { rules };
                for given in rules {
                    matches.push(CompiledMatch::new(route, rule, given).map_err(|(text, why)| InvalidRegex {
                        route: of.meta().to_string(),
                        text,
                        why,
                    })?);
                }
            }
        }
        Ok(Self { routes, matches })
    }

    /// Whether some match has no condition at all: then every request finds a route.
    pub fn take_everything(&self) -> bool {
        let open = |m: &CompiledMatch| {
            let anyone = m.path.as_ref().is_none_or(|path| matches!(path, Path::Prefix(prefix) if prefix.is_empty()));
            anyone && m.fields.is_empty() && m.query.is_empty() && m.method.is_none()
        };
        self.matches.iter().any(|m| open(m) && self.routes[m.route].hosts().is_empty())
    }

    /// Every route, in the policy's order.
    pub fn all(&self) -> &[R] {
        &self.routes
    }

    /// The best route for the request, and which rule of it matched: indices. `None`: refuse with "no route".
    pub fn find(&self, request: &impl Head) -> Option<(usize, usize)> {
        let mut best: Option<(Rank, &CompiledMatch)> = None;
        for candidate in &self.matches {
            let Some(host) = host_rank(self.routes[candidate.route].hosts(), request.host()) else { continue };
            let Some(rank) = candidate.rank(host, request) else { continue };
            if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                best = Some((rank, candidate));
            }
        }
        best.map(|(_, found)| (found.route, found.rule))
    }
}

impl CompiledMatch {
    fn new(route: usize, rule: usize, given: &RouteMatch) -> Result<Self, (String, String)> {
        let path = match &given.path {
            None => None,
            Some(PathMatch::Exact(path)) => Some(Path::Exact(path.clone())),
            Some(PathMatch::Prefix(path)) => Some(Path::Prefix(path.trim_end_matches('/').into())),
            Some(PathMatch::Regex(text)) => Some(Path::Regex(whole(text)?)),
        };
        let field = |HeaderMatch { name, value: v }: &HeaderMatch| Ok((name.clone(), value(v)?));
        let parameter = |QueryMatch { name, value: v }: &QueryMatch| Ok((name.clone(), value(v)?));
        let fields = given.headers.iter().map(field).collect::<Result<_, (String, String)>>()?;
        let query = given.query.iter().map(parameter).collect::<Result<_, (String, String)>>()?;
        Ok(Self { route, rule, path, fields, query, method: given.method.clone() })
    }

    fn rank(&self, host: usize, request: &impl Head) -> Option<Rank> {
        if self.method.as_deref().is_some_and(|method| method != request.method()) {
            return None;
        }
        let path = match &self.path {
            None => (0, 0),
            Some(path) => path.rank(request.path())?,
        };
        let fields = self.fields.iter().all(|(name, value)| {
            // A repeated field could be read as either value, so each of them must match.
            let mut values = request.values(name).peekable();
            values.peek().is_some() && values.all(|given| value.matches(given))
        });
        let query = self.query.iter().all(|(name, value)| {
            let mut pairs = request.query().split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(n, _)| *n == &**name).is_some_and(|(_, v)| value.matches(v.as_bytes()))
        });
        (fields && query).then_some((host, path, self.method.is_some(), self.fields.len(), self.query.len()))
    }
}

impl Path {
    fn rank(&self, path: &str) -> Option<(u8, usize)> {
        match self {
            Self::Exact(exact) => (**exact == *path).then_some((3, exact.len())),
            Self::Prefix(prefix) => {
                // "/" is everything, `OPTIONS *` included.
                let below = path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                (prefix.is_empty() || below).then_some((2, prefix.len()))
            }
            Self::Regex(regex) => regex.is_match(path.as_bytes()).then_some((1, regex.as_str().len())),
        }
    }
}

impl Value {
    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == value,
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

/// The route for a server name: the most specific one, of equals the first.
pub fn best_for<'a>(routes: &'a [TlsRoute], name: &str) -> Option<&'a TlsRoute> {
    let ranked = routes.iter().filter_map(|route| Some((host_rank(&route.snis, Some(name))?, route)));
    ranked.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, route)| route)
}

/// The host of an authority: without user, without port.
pub fn host_of(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}

/// How specific the host is that lets the request in; `None`: the route is for other hosts.
fn host_rank(hosts: &[HostMatch], host: Option<&str>) -> Option<usize> {
    if hosts.is_empty() {
        return Some(0);
    }
    let host = host?.trim_end_matches('.').to_ascii_lowercase();
    let rank = |of: &HostMatch| match of {
        HostMatch::Exact(exact) => (**exact == *host).then_some(2 * exact.len() + 1),
        HostMatch::Suffix(suffix) => {
            let rest = host.strip_suffix(&**suffix)?;
            (rest.len() > 1 && rest.ends_with('.')).then_some(2 * suffix.len())
        }
    };
    hosts.iter().filter_map(rank).max()
}

fn value(given: &ValueMatch) -> Result<Value, (String, String)> {
    Ok(match given {
        ValueMatch::Exact(text) => Value::Exact(text.clone()),
        ValueMatch::Regex(text) => Value::Regex(whole(text)?),
    })
}

/// A regular expression that must match all of a value, within bounded memory.
fn whole(text: &str) -> Result<Regex, (String, String)> {
    let built = regex::bytes::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(1 << 20).build();
    built.map_err(|e| (text.to_owned(), e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Request, fields};
    use outrigger_model::RouteRule;

    fn route(name: &str, hosts: Vec<HostMatch>, given: RouteMatch) -> InboundRoute {
        let rules = vec![RouteRule { matches: vec![given], filters: vec![] }];
        InboundRoute { meta: Meta::object("g", "HTTPRoute", "n", name), hosts, authorizations: Arc::default(), rules }
    }

    fn path(path: PathMatch) -> RouteMatch {
        RouteMatch { path: Some(path), ..RouteMatch::default() }
    }

    fn takes(routes: &[InboundRoute], head: &str) -> Option<String> {
        let compiled = Routes::compile(routes.into()).unwrap();
        let mut room = fields();
        let request = Request::parse(head.as_bytes(), &mut room).unwrap().unwrap();
        compiled.find(&request).map(|(route, _)| routes[route].meta.name.to_string())
    }

    #[test]
    fn the_most_specific_route_wins() {
        let routes = [
            route("all", vec![], RouteMatch::default()),
            route("prefix", vec![], path(PathMatch::Prefix("/a/".into()))),
            route("exact", vec![], path(PathMatch::Exact("/a/b".into()))),
            route("regex", vec![], path(PathMatch::Regex("/[a-z]+/x".into()))),
            route("post", vec![], RouteMatch { method: Some("POST".into()), ..RouteMatch::default() }),
            route("host", vec![HostMatch::Exact("h.example".into())], RouteMatch::default()),
            route("suffix", vec![HostMatch::Suffix("example".into())], RouteMatch::default()),
        ];
        let get = |target: &str, host: &str| takes(&routes, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(get("/", "x").as_deref(), Some("all"));
        assert_eq!(get("/a?x", "x").as_deref(), Some("prefix"));
        assert_eq!(get("/ab", "x").as_deref(), Some("all"), "whole segments");
        assert_eq!(get("/a/b", "x").as_deref(), Some("exact"));
        assert_eq!(get("/q/x", "x").as_deref(), Some("regex"));
        assert_eq!(get("/q/xx", "x").as_deref(), Some("all"), "the whole path");
        assert_eq!(get("/a/b", "H.example:80").as_deref(), Some("host"));
        assert_eq!(get("/a/b", "i.example").as_deref(), Some("suffix"));
        assert_eq!(get("/", "example").as_deref(), Some("all"));
        assert_eq!(takes(&routes, "POST / HTTP/1.1\r\nHost: x\r\n\r\n").as_deref(), Some("post"));
        assert_eq!(takes(&routes[1..4], "GET / HTTP/1.1\r\nHost: x\r\n\r\n"), None);
    }

    #[test]
    fn fields_and_parameters_must_all_match() {
        let token = HeaderMatch { name: "x-token".into(), value: ValueMatch::Regex("[0-9]+".into()) };
        let page = QueryMatch { name: "p".into(), value: ValueMatch::Exact("1".into()) };
        let given = RouteMatch { headers: vec![token], query: vec![page], ..RouteMatch::default() };
        let routes = [route("r", vec![], given)];
        let get = |target: &str, fields: &str| {
            takes(&routes, &format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")).is_some()
        };
        assert!(get("/?a=b&p=1", "X-Token: 12\r\n"));
        assert!(!get("/?p=1", "X-Token: 12a\r\n"));
        assert!(!get("/?p=2", "X-Token: 12\r\n"));
        assert!(!get("/?p=1", ""));
        assert!(!get("/?p=1", "X-Token: 12\r\nX-Token: admin\r\n"), "a second value may not slip by");
    }

    #[test]
    fn a_bad_expression_is_named() {
        let routes = [route("r", vec![], path(PathMatch::Regex("(".into())))];
        let error = Routes::compile(routes.into()).unwrap_err().to_string();
        assert!(error.contains("HTTPRoute n/r") && error.contains("\"(\""), "{error}");
    }
}
