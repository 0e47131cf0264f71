//! Patterns as load balancers have them: `*` is any number of characters, `?` is one.

/// Whether a text fits a pattern.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if p < pattern.len()
            && (pattern[p] == b'?' || (pattern[p] != b'*' && pattern[p] == text[t]))
        {
            (p, t) = (p + 1, t + 1);
        } else if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if let Some((star_at, taken)) = star {
            star = Some((star_at, taken + 1));
            (p, t) = (star_at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_patterns_are_those_of_a_load_balancer() {
        for (pattern, path, fits) in [
            ("/*", "/", true),
            ("/api/*", "/api/items", true),
            ("/api/*", "/api", false),
            ("/api/?", "/api/1", true),
            ("/api/?", "/api/12", false),
            ("*.png", "/a/b.png", true),
            ("/a/*/c", "/a/b/b/c", true),
            ("/health", "/healthy", false),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
    }
}
