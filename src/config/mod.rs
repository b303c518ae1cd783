//! Configuration: the one room that knows YAML and reads policy files.
//!
//! The way is one: text → tree with places (`tree`) → wire types (`wire`, read by `reader`) →
//! [`crate::policy::Policy`] (`compile`, the only place that may refuse what has the right shape). Every
//! problem on that way is collected and said at once.

mod collection;
mod compile;
mod confusable;
mod default;
mod deny_file;
mod describe;
mod error;
mod finding;
#[doc(hidden)]
pub mod fuzz;
mod history;
mod input;
mod key_folder;
mod load;
mod locate;
mod metrics_address;
mod outline;
mod parse;
mod read;
mod reader;
mod redaction;
mod referenced;
mod schema;
mod shape;
mod similar_path;
mod source;
mod state_dir;
mod substitute;
mod syntax;
mod tree;
mod unenforced;
mod unit;
mod wire;

pub use deny_file::{DenyFileError, read_deny_file};
pub use error::{ConfigErrors, Problem, Severity, Snippet};
pub use history::History;
pub use key_folder::{FolderKey, KeyFolderError, read_key_folder};
pub use load::{Loaded, load, load_to_check, load_to_start};
pub use metrics_address::metrics_address;
pub use read::Include;
pub use referenced::{Referenced, ReferencedKind, referenced_files};
pub use schema::schema;
pub use state_dir::{StateDirLookup, look_up_state_dir, state_dir};
pub use unit::duration;
