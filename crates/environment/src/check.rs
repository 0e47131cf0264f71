//! What types and ranges cannot say.

use crate::load::Environment;
use crate::problem::Finding;
use crate::source::Sources;
use crate::tree::Node;

/// Everything that is wrong with an environment whose keys and types are right.
pub(crate) fn check(
    _environment: &Environment,
    _tree: &Node,
    _sources: &mut Sources,
) -> Vec<Finding> {
    Vec::new()
}
