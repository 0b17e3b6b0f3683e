//! Which paths inside its own crate a source file mentions.

use crate::sources::Source;

/// Every path that begins with `crate::`, `super::` or `self::`, in a `use` or elsewhere, as it is from the crate's root.
pub(crate) fn imports(source: &Source) -> Vec<Vec<String>> {
    let tokens = tokens(&source.code);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let begins = at == 0 || tokens[at - 1] != "::";
        let mut base = match *token {
            "crate" => Vec::new(),
            "super" => parent(&source.module),
            "self" => source.module.clone(),
            _ => continue,
        };
        if !begins || tokens.get(at + 1) != Some(&"::") {
            continue;
        }
        let mut rest = &tokens[at + 2..];
        while let ["super", "::", after @ ..] = rest {
            base = parent(&base);
            rest = after;
        }
        expand(rest, &base, &mut found);
    }
    found
}

fn parent(module: &[String]) -> Vec<String> {
    module.split_last().map_or_else(Vec::new, |(_, parent)| parent.to_vec())
}

/// Adds the paths that `tokens` begins with, each below `base`. Returns what follows them.
fn expand<'t, 's>(tokens: &'t [&'s str], base: &[String], found: &mut Vec<Vec<String>>) -> &'t [&'s str] {
    match tokens {
        ["{", rest @ ..] => {
            let mut rest = rest;
            while let [first, after @ ..] = rest {
                match *first {
                    "}" => return after,
                    "," => rest = after,
                    _ => rest = expand(rest, base, found),
                }
            }
            rest
        }
        [name, "::", rest @ ..] => {
            let path: Vec<String> = base.iter().cloned().chain([(*name).to_owned()]).collect();
            expand(rest, &path, found)
        }
        [name, rest @ ..] => {
            let path = base.iter().cloned().chain((*name != "self").then(|| (*name).to_owned())).collect();
            found.push(path);
            // A renamed import: `as name`.
            if let ["as", _, after @ ..] = rest { after } else { rest }
        }
        [] => tokens,
    }
}

/// Identifiers, `::` and single punctuation marks.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}
