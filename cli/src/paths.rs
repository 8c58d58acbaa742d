//! Paths as they are typed.

use wl_core::path::RelPath;

use crate::failure::{Failure, Outcome};

/// Reads a path relative to a storage. A `./` in front and a `/` at the end, as shells add them, mean nothing.
pub fn parse(text: &str) -> Outcome<String> {
    let bare = text.strip_prefix("./").unwrap_or(text);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let refuse = |why: &str| {
        Failure::usage(format!("path `{text}` {why}"))
            .hint("give it relative to the storage, with `/` between segments, as `wl status` shows it")
    };
    match RelPath::parse(bare) {
        Ok(path) if path.is_root() => Err(refuse("is empty")),
        Ok(path) => Ok(path.as_str().to_owned()),
        Err(error) => Err(refuse(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shells_add_means_nothing() {
        assert_eq!(parse("./a/b/"), Ok("a/b".to_owned()));
        assert_eq!(parse("a"), Ok("a".to_owned()));
        for bad in ["", "/a", "../a", "a//b", "."] {
            assert_eq!(parse(bad).map_err(|failure| failure.exit), Err(crate::failure::Exit::Usage), "{bad}");
        }
    }
}
