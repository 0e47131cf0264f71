//! Container images by digest. A tag can be moved; a digest cannot.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an image digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image digest: expected `sha256:` and 64 lower-case hexadecimal digits")]
pub struct DigestError {
    text: String,
}

/// The digest of an image's manifest: `sha256:` and 64 lower-case hexadecimal digits (OCI image specification,
/// "Digests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageDigest(String);

impl ImageDigest {
    /// The digest as text, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> &str {
        &self.0["sha256:".len()..][..12]
    }
}

impl FromStr for ImageDigest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let fine = text.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        });
        if fine { Ok(Self(text.to_owned())) } else { Err(DigestError { text: text.to_owned() }) }
    }
}

impl TryFrom<String> for ImageDigest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<ImageDigest> for String {
    fn from(digest: ImageDigest) -> String {
        digest.0
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is not an image reference by digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageRefError {
    /// There is no `@sha256:…`.
    #[error(
        "{text:?} names an image by tag, which can be moved; name it by digest: REPOSITORY@sha256:… \
         (`docker buildx imagetools inspect {text}` or `aws ecr describe-images` shows it)"
    )]
    Tag {
        /// What was given.
        text: String,
    },
    /// The repository part is empty or holds characters that no registry allows.
    #[error("{text:?} is not an image reference: the part before `@` is not a repository name")]
    Repository {
        /// What was given.
        text: String,
    },
    /// The digest is malformed.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

/// An image of a repository, by digest: `REPOSITORY@sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    repository: String,
    digest: ImageDigest,
}

impl ImageRef {
    /// The repository, without tag or digest.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The digest.
    pub fn digest(&self) -> &ImageDigest {
        &self.digest
    }
}

impl FromStr for ImageRef {
    type Err = ImageRefError;
    fn from_str(text: &str) -> Result<Self, ImageRefError> {
        let Some((repository, digest)) = text.split_once('@') else {
            return Err(ImageRefError::Tag { text: text.to_owned() });
        };
        // `REPO:TAG@sha256:…` is legal for Docker; the tag says nothing once the digest is there. A colon before a
        // slash is a registry's port.
        let repository = match repository.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => name,
            _ => repository,
        };
        let fine = !repository.is_empty()
            && repository
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':'));
        if !fine {
            return Err(ImageRefError::Repository { text: text.to_owned() });
        }
        Ok(Self { repository: repository.to_owned(), digest: digest.parse()? })
    }
}

impl TryFrom<String> for ImageRef {
    type Error = ImageRefError;
    fn try_from(text: String) -> Result<Self, ImageRefError> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> String {
        image.to_string()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn tags_are_refused_with_the_way_to_find_the_digest() {
        let error = "registry.example/shop:1.2".parse::<ImageRef>().unwrap_err();
        assert!(
            error.to_string().contains("imagetools inspect registry.example/shop:1.2"),
            "{error}"
        );
    }

    #[test]
    fn references_round_trip() {
        let text = format!("registry.example:5000/shop/backend@sha256:{HEX}");
        assert_eq!(text.parse::<ImageRef>().unwrap().to_string(), text);
        let tagged = format!("shop:1.2@sha256:{HEX}").parse::<ImageRef>().unwrap();
        assert_eq!(tagged.repository(), "shop");
    }

    #[test]
    fn malformed_digests_are_refused() {
        let (short, upper) = (&HEX[1..], HEX.to_uppercase());
        for bad in [
            format!("shop@sha256:{short}"),
            format!("shop@sha256:{upper}"),
            format!("@sha256:{HEX}"),
            "shop@".into(),
        ] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
    }
}
