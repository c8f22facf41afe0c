//! The command lines of the peers.
//!
//! Owns names, defaults and complaints. The same words work for every peer; what a stack cannot do is refused here
//! or by the peer itself in one sentence.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::script::Step;

/// The size of the transfers that the matrix makes.
const DOWNLOAD_DEFAULT_BYTES: u64 = 100_000_000;
/// Loopback has plenty of addresses; more paths than this tell nothing new.
const PATHS_MAX: u32 = 64;
/// The protocol allows more, but nobody needs it here.
const STREAMS_MAX: u32 = 100;

/// What a server was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Paths that a connection may have at once; 1 switches multipath off.
    pub paths: u32,
    /// What to do on the first connection.
    pub script: Vec<Step>,
}

/// What a client was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// The server.
    pub target: SocketAddr,
    /// What every request asks for.
    pub download_bytes: u64,
    /// What every request carries.
    pub upload_bytes: u64,
    /// Requests at the same time, each on its own stream.
    pub streams: u32,
    /// Paths to open, from 127.0.0.1, 127.0.0.2 and so on.
    pub paths: u32,
    /// The server's address on each link, where a script uses several; else the target.
    pub links: Vec<SocketAddr>,
    /// What to do instead of one request on each stream.
    pub script: Vec<Step>,
    /// The whole run takes no longer.
    pub timeout: Duration,
}

impl ServerOptions {
    /// Reads a command line without the program's name.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Self { listen: (Ipv4Addr::LOCALHOST, 0).into(), paths: 8, script: Vec::new() };
        let mut words = Words::new(words)?;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--listen" => options.listen = words.value("--listen", "an address, IP:PORT")?,
                "--paths" => options.paths = words.count("--paths", PATHS_MAX)?,
                "--script" => options.script = words.script()?,
                other => {
                    return Err(format!(
                        "what is `{other}`? I know --listen IP:PORT, --paths N and --script STEPS"
                    ));
                }
            }
        }
        Ok(options)
    }

    /// The command line of this process.
    pub fn from_env() -> Result<Self, String> {
        Self::read(std::env::args_os().skip(1))
    }
}

impl ClientOptions {
    /// Reads a command line without the program's name.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut target = None;
        let mut options = Self {
            target: (Ipv4Addr::LOCALHOST, 0).into(),
            download_bytes: DOWNLOAD_DEFAULT_BYTES,
            upload_bytes: 0,
            streams: 1,
            paths: 1,
            links: Vec::new(),
            script: Vec::new(),
            timeout: Duration::from_secs(60),
        };
        let mut words = Words::new(words)?;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--download" => options.download_bytes = words.value("--download", "a number of bytes")?,
                "--upload" => options.upload_bytes = words.value("--upload", "a number of bytes")?,
                "--streams" => options.streams = words.count("--streams", STREAMS_MAX)?,
                "--paths" => options.paths = words.count("--paths", PATHS_MAX)?,
                "--link" => options.links.push(words.value("--link", "an address, IP:PORT")?),
                "--script" => options.script = words.script()?,
                "--timeout" => {
                    options.timeout = Duration::from_secs(words.value("--timeout", "a number of seconds")?);
                }
                word if !word.starts_with('-') && target.is_none() => {
                    target = Some(word.parse().map_err(|_| format!("`{word}` is no address, IP:PORT"))?);
                }
                other => {
                    return Err(format!(
                        "what is `{other}`? I know IP:PORT, --download, --upload, --streams, --paths, --link, --script, \
                         --timeout"
                    ));
                }
            }
        }
        options.target = target.ok_or("say which server to ask: IP:PORT")?;
        Ok(options)
    }

    /// The server's address on a link.
    pub fn link(&self, link: u8) -> SocketAddr {
        self.links.get(usize::from(link)).copied().unwrap_or(self.target)
    }

    /// The client's address on a link: 127.0.0.1, 127.0.0.2 and so on.
    pub fn local(link: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, link.saturating_add(1)).into()
    }

    /// The command line of this process.
    pub fn from_env() -> Result<Self, String> {
        Self::read(std::env::args_os().skip(1))
    }
}

/// The words of a command line, in their order.
struct Words(std::vec::IntoIter<String>);

impl Words {
    fn new(words: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let words = words.into_iter().map(OsString::into_string).collect::<Result<Vec<_>, _>>();
        words.map(|words| Self(words.into_iter())).map_err(|word| format!("{} is no text", word.display()))
    }

    fn next(&mut self) -> Option<String> {
        self.0.next()
    }

    fn value<T: std::str::FromStr>(&mut self, name: &str, wanted: &str) -> Result<T, String> {
        let value = self.next().and_then(|word| word.parse().ok());
        value.ok_or_else(|| format!("{name} needs {wanted}"))
    }

    fn script(&mut self) -> Result<Vec<Step>, String> {
        Step::read_all(&self.value::<String>("--script", "steps, as 'open 1; get 1000; finish'")?)
    }

    fn count(&mut self, name: &str, most: u32) -> Result<u32, String> {
        let count = self.value(name, "a number")?;
        if (1..=most).contains(&count) { Ok(count) } else { Err(format!("{name} must be 1 to {most}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn every_word_reaches_the_options() {
        let line = "127.0.0.1:9 --download 5 --upload 6 --streams 2 --paths 4 --timeout 7 --link 127.0.0.2:9";
        let script = ["--script", "keys; finish"].map(OsString::from);
        let options = ClientOptions::read(words(line).into_iter().chain(script)).unwrap();
        let wanted = ClientOptions {
            target: "127.0.0.1:9".parse().unwrap(),
            download_bytes: 5,
            upload_bytes: 6,
            streams: 2,
            paths: 4,
            links: vec!["127.0.0.2:9".parse().unwrap()],
            script: vec![Step::Keys, Step::Finish],
            timeout: Duration::from_secs(7),
        };
        assert_eq!(options, wanted);
        let options = ServerOptions::read(words("--listen 127.0.0.1:9 --paths 1")).unwrap();
        let listen = "127.0.0.1:9".parse().unwrap();
        assert_eq!(options, ServerOptions { listen, paths: 1, script: Vec::new() });
    }

    #[test]
    fn a_client_downloads_100_mb_over_one_path_unless_told_otherwise() {
        let options = ClientOptions::read(words("127.0.0.1:9")).unwrap();
        assert_eq!((options.download_bytes, options.upload_bytes), (100_000_000, 0));
        assert_eq!((options.streams, options.paths), (1, 1));
    }

    #[test]
    fn complaints_name_the_word() {
        for (line, named) in [
            ("", "IP:PORT"),
            ("localhost", "localhost"),
            ("127.0.0.1:9 --paths 0", "--paths"),
            ("127.0.0.1:9 --paths 65", "--paths"),
            ("127.0.0.1:9 --download", "--download"),
            ("127.0.0.1:9 --streams 101", "--streams"),
            ("127.0.0.1:9 --script dance", "dance"),
            ("127.0.0.1:9 --link home", "--link"),
            ("127.0.0.1:9 127.0.0.1:9", "127.0.0.1:9"),
            ("--fast", "--fast"),
        ] {
            let sentence = ClientOptions::read(words(line)).unwrap_err();
            assert!(sentence.contains(named), "{line}: {sentence}");
        }
        assert!(ServerOptions::read(words("--listen 1")).unwrap_err().contains("--listen"));
        assert!(ServerOptions::read(words("127.0.0.1:9")).unwrap_err().contains("127.0.0.1:9"));
    }
}
