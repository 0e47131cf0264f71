//! Names as PostgreSQL compares them. Pure.

use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode as _};

/// A name without quotes, in lower case where it has none, and without `public.` before it.
pub(super) fn normal(text: &str) -> String {
    let mut name = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                name.push('"');
            }
            '"' => quoted = !quoted,
            c if quoted => name.push(c),
            c if c.is_whitespace() => {}
            c => name.extend(c.to_lowercase()),
        }
    }
    match name.strip_prefix("public.") {
        Some(rest) => rest.to_owned(),
        None => name,
    }
}

/// The name that stands first in a node.
pub(super) fn first(node: &SyntaxNode) -> Option<String> {
    node.descendants().find_map(|node| {
        let text = match ast::PathRef::cast(node.clone()) {
            Some(path) => path.syntax().text(),
            None => ast::Path::cast(node)?.syntax().text(),
        };
        Some(normal(&text.to_string()))
    })
}

/// The name that stands first in a node, which may be one without a schema, such as a column's.
pub(super) fn only(node: &SyntaxNode) -> String {
    first(node).unwrap_or_else(|| normal(&node.text().to_string()))
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn names_are_compared_as_postgresql_compares_them() {
        for (text, expected) in [
            ("Users", "users"),
            ("\"Users\"", "Users"),
            ("public.users", "users"),
            ("\"public\" . users", "users"),
            ("Shop.\"a\"\"b\"", "shop.a\"b"),
        ] {
            assert_eq!(normal(text), expected);
        }
    }
}
