//! A policy table in a file, which changes lifetimes without a restart.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tower_response_cache::Cache;

/// How often the file is checked for changes.
const INTERVAL: Duration = Duration::from_millis(500);

/// Applies the policy table in a file. Starts a task that applies the table again when the file
/// changes.
pub(crate) fn watch(cache: Cache, path: PathBuf) -> Result<(), Box<dyn Error>> {
    let mut applied = modified(&path);
    apply(&cache, &path)?;
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let current = modified(&path);
            if current == applied {
                continue;
            }
            applied = current;
            match apply(&cache, &path) {
                Ok(()) => println!("{} is in effect.", path.display()),
                Err(error) => eprintln!("{error}. The previous table stays in effect."),
            }
        }
    });
    Ok(())
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

fn apply(cache: &Cache, path: &Path) -> Result<(), Box<dyn Error>> {
    let in_file = |error: &dyn Error| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| in_file(&error))?;
    let table = serde_json::from_str(&text).map_err(|error| in_file(&error))?;
    Ok(cache.set_policy_table(table).map_err(|error| in_file(&error))?)
}
