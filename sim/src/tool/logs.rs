//! What `sim run` writes down besides the outcome: the scheduler's decisions, or all that happened as qlog.
//!
//! Owns the files. What is in them is `braid_quic::log`'s.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use braid_quic::Role;
use braid_quic::log::text;
use braid_sim::{Logbook, World};

/// Beyond this a qlog file says that the rest is missing.
const QLOG_BYTES_MAX: usize = 1 << 30;

/// The ends, as their lines and files call them.
const ENDS: [(Role, &str); 2] = [(Role::Client, "client"), (Role::Server, "server")];

/// Where to write what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) decisions: Option<PathBuf>,
    pub(crate) qlog: Option<PathBuf>,
}

/// Files being written.
pub(crate) enum Logs {
    Nothing,
    /// One line for each decision of either end, in the order of virtual time.
    Decisions(Arc<Mutex<BufWriter<File>>>, PathBuf),
    /// A file for each end, in a directory.
    Qlog(Vec<(Logbook, PathBuf)>),
}

impl Logs {
    /// Opens the files and lets both ends of a world write to them.
    pub(crate) fn open(wanted: &Wanted, world: &mut World) -> Result<Self, String> {
        if let Some(path) = &wanted.decisions {
            let file = File::create(path).map_err(|error| unwritable(path, &error))?;
            let file = Arc::new(Mutex::new(BufWriter::new(file)));
            for (role, name) in ENDS {
                let file = Arc::clone(&file);
                let print = move |line: &text::Line<'_>| {
                    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                    let _ = writeln!(file, "{name} {line}"); // an error shows again when the file is closed
                };
                world.log(role, text::decisions(World::origin(), print));
            }
            return Ok(Self::Decisions(file, path.clone()));
        }
        let Some(directory) = &wanted.qlog else { return Ok(Self::Nothing) };
        fs::create_dir_all(directory).map_err(|error| unwritable(directory, &error))?;
        let books = ENDS.map(|(role, name)| {
            (world.qlog(role, QLOG_BYTES_MAX), directory.join(name).with_extension("sqlog"))
        });
        Ok(Self::Qlog(books.into()))
    }

    /// Writes what is left, once the world is gone.
    pub(crate) fn close(self) -> Result<(), String> {
        match self {
            Self::Nothing => Ok(()),
            Self::Decisions(file, path) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.flush().map_err(|error| unwritable(&path, &error))
            }
            Self::Qlog(books) => books.into_iter().try_for_each(|(book, path)| {
                fs::write(&path, book.take()).map_err(|error| unwritable(&path, &error))
            }),
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}
