//! Images: a program with its arguments and environment, named by what it is.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use liftlock_model::ImageDigest;
use ring::digest::{self, SHA256};
use serde::{Deserialize, Serialize};

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The program cannot be read.
    #[error("the program {} cannot be read: {reason}: build it first", path.display())]
    Program {
        /// The program.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The image store cannot be written.
    #[error("the stage's image store {} cannot be written: {reason}", path.display())]
    Store {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

/// What an image says. Its canonical JSON (RFC 8785: the members stand in this order already) is what the digest is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    /// SHA-256 of the program file, hexadecimal.
    pub(crate) program: String,
}

/// Makes an image of a program, with the arguments and environment variables that it runs with, in the stage's directory.
/// The same content is the same image, wherever and whenever it is made.
///
/// # Errors
/// [`ImageError`]; what was half written is not taken for an image.
pub fn build_image(
    directory: &Path,
    program: &Path,
    arguments: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<ImageDigest, ImageError> {
    let hash = store_program(directory, program)?;
    let image =
        Image { arguments: arguments.to_vec(), environment: environment.clone(), program: hash };
    let text = serde_json::to_vec(&image).expect("strings always serialise");
    let digest = hex::encode(digest::digest(&SHA256, &text));
    let path = image_path(directory, &digest);
    write_whole(&path, &text)?;
    Ok(format!("sha256:{digest}").parse().expect("a SHA-256 is 64 hexadecimal digits"))
}

/// Reads an image, and where its program is. None if it is not there, or not what its digest says.
pub(crate) fn load(directory: &Path, named: &ImageDigest) -> Option<(Image, PathBuf)> {
    let hex = named.as_str().strip_prefix("sha256:")?;
    let text = fs::read(image_path(directory, hex)).ok()?;
    if hex::encode(digest::digest(&SHA256, &text)) != hex {
        return None;
    }
    let image: Image = serde_json::from_slice(&text).ok()?;
    let program = blob_path(directory, &image.program);
    program.is_file().then_some((image, program))
}

fn image_path(directory: &Path, hex: &str) -> PathBuf {
    directory.join("images").join(format!("sha256-{hex}.json"))
}

fn blob_path(directory: &Path, hex: &str) -> PathBuf {
    directory.join("blobs").join(hex)
}

/// Copies the program to its place, and returns its hash. A copy, not a hard link: the next build may write into the
/// same file. File systems that can share the blocks of a copy do so by themselves.
fn store_program(directory: &Path, program: &Path) -> Result<String, ImageError> {
    let unreadable =
        |error: io::Error| ImageError::Program { path: program.into(), reason: error.to_string() };
    let hash = hash_file(program).map_err(unreadable)?;
    let blob = blob_path(directory, &hash);
    if blob.is_file() {
        return Ok(hash);
    }
    let store =
        |error: io::Error| ImageError::Store { path: blob.clone(), reason: error.to_string() };
    let parent = directory.join("blobs");
    fs::create_dir_all(&parent).map_err(store)?;
    let temporary = tempfile::Builder::new().tempfile_in(&parent).map_err(store)?.into_temp_path();
    fs::copy(program, &temporary).map_err(store)?;
    // What was copied is what was hashed, even if somebody built anew in between.
    let copied = hash_file(&temporary).map_err(store)?;
    fs::set_permissions(&temporary, Permissions::from_mode(0o755)).map_err(store)?;
    let blob = blob_path(directory, &copied);
    temporary.persist(&blob).map_err(|error| store(error.error))?;
    Ok(copied)
}

/// By ring: programs are tens of megabytes, and its assembly is fast also where the rest is not optimised.
fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hash, mut buffer) = (digest::Context::new(&SHA256), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finish())),
            n => hash.update(&buffer[..n]),
        }
    }
}

fn write_whole(path: &Path, text: &[u8]) -> Result<(), ImageError> {
    let store =
        |error: io::Error| ImageError::Store { path: path.into(), reason: error.to_string() };
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(store)?;
    let temporary = tempfile::NamedTempFile::new_in(parent).map_err(store)?;
    fs::write(temporary.path(), text).map_err(store)?;
    temporary.persist(path).map(drop).map_err(|error| store(error.error))
}
