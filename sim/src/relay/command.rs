//! What a relay can be told while it runs, one line each.
//!
//! Owns the words and their sentences of refusal. Does nothing (`engine` does).
//!
//! ```text
//! cut 1 | cut-up 1 | cut-down 1                 a path, or one way of it, goes dark
//! restore 1 | restore-up 1 | restore-down 1     and works again
//! rebind 1 [client IP:PORT] [from IP]           clients get new ports towards the server
//! set 1 rate=20M down-delay=50ms loss=1%        from now on
//! ```
//! `all` stands for every path.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::settings::Change;
use crate::network::Way;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// Go dark: what waits and what comes is dropped, and nobody is told.
    Cut(Which, Ways),
    /// Carry datagrams again.
    Restore(Which, Ways),
    /// Take a new socket towards the server, as a NAT does that has forgotten.
    Rebind {
        /// Which paths.
        path: Which,
        /// Only this client's session; every session unless given.
        client: Option<SocketAddr>,
        /// The address that the server sees from now on; the path's own unless given.
        source: Option<IpAddr>,
    },
    /// Change settings.
    Set(Which, Vec<Change>),
}

/// One path or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// By its place in the configuration, from 0.
    One(usize),
    /// Every path.
    All,
}

/// One direction or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// From the clients to the server.
    Up,
    /// From the server to the clients.
    Down,
    /// Both.
    Both,
}

impl Ways {
    /// The directions meant.
    pub(super) fn iter(self) -> impl Iterator<Item = Way> {
        let up = matches!(self, Self::Up | Self::Both).then_some(Way::Up);
        let down = matches!(self, Self::Down | Self::Both).then_some(Way::Down);
        [up, down].into_iter().flatten()
    }
}

impl From<Way> for Ways {
    fn from(way: Way) -> Self {
        match way {
            Way::Up => Self::Up,
            Way::Down => Self::Down,
        }
    }
}

impl FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let verb = words.next().ok_or_else(|| unknown(""))?;
        let known = ["cut", "cut-up", "cut-down", "restore", "restore-up", "restore-down", "rebind", "set"];
        if !known.contains(&verb) {
            return Err(unknown(verb));
        }
        let path =
            words.next().ok_or_else(|| format!("{verb} needs the number of a path, or all"))?.parse()?;
        let command = match verb {
            "cut" => Self::Cut(path, Ways::Both),
            "cut-up" => Self::Cut(path, Ways::Up),
            "cut-down" => Self::Cut(path, Ways::Down),
            "restore" => Self::Restore(path, Ways::Both),
            "restore-up" => Self::Restore(path, Ways::Up),
            "restore-down" => Self::Restore(path, Ways::Down),
            "set" => Self::Set(path, words.by_ref().map(Change::parse).collect::<Result<_, _>>()?),
            _ => rebind(path, &mut words)?,
        };
        match (words.next(), &command) {
            (Some(word), _) => Err(format!("{verb}: what is `{word}`?")),
            (None, Self::Set(_, changes)) if changes.is_empty() => {
                Err("set what? as in set 1 rate=20M".into())
            }
            (None, _) => Ok(command),
        }
    }
}

/// Reads what follows the path of `rebind`.
fn rebind<'a>(path: Which, words: &mut impl Iterator<Item = &'a str>) -> Result<Command, String> {
    let (mut client, mut source) = (None, None);
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_default();
        match word {
            "client" => client = Some(value.parse().map_err(|_| format!("client `{value}` is no IP:PORT"))?),
            "from" => source = Some(value.parse().map_err(|_| format!("from `{value}` is no IP address"))?),
            _ => return Err(format!("rebind: what is `{word}`? I know client IP:PORT and from IP")),
        }
    }
    Ok(Command::Rebind { path, client, source })
}

fn unknown(verb: &str) -> String {
    format!("`{verb}` is no command; I know cut, cut-up, cut-down, restore, rebind and set")
}

impl FromStr for Which {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "all" => Ok(Self::All),
            _ => word.parse().map(Self::One).map_err(|_| format!("`{word}` is no number of a path, nor all")),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = |ways: &Ways| match ways {
            Ways::Up => "-up",
            Ways::Down => "-down",
            Ways::Both => "",
        };
        match self {
            Self::Cut(path, ways) => write!(f, "cut{} {path}", suffix(ways)),
            Self::Restore(path, ways) => write!(f, "restore{} {path}", suffix(ways)),
            Self::Rebind { path, client, source } => {
                write!(f, "rebind {path}")?;
                client.map_or(Ok(()), |client| write!(f, " client {client}"))?;
                source.map_or(Ok(()), |source| write!(f, " from {source}"))
            }
            Self::Set(path, changes) => {
                write!(f, "set {path}")?;
                changes.iter().try_for_each(|change| write!(f, " {change}"))
            }
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(path) => write!(f, "{path}"),
            Self::All => f.write_str("all"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::mbps;

    fn command(line: &str) -> Command {
        line.parse().unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn every_command_has_a_line() {
        assert_eq!(command("cut 1"), Command::Cut(Which::One(1), Ways::Both));
        assert_eq!(command(" cut-up  0 "), Command::Cut(Which::One(0), Ways::Up));
        assert_eq!(command("cut-down all"), Command::Cut(Which::All, Ways::Down));
        assert_eq!(command("restore 3"), Command::Restore(Which::One(3), Ways::Both));
        assert_eq!(command("restore-up 3"), Command::Restore(Which::One(3), Ways::Up));
        let path = Which::One(1);
        assert_eq!(command("rebind 1"), Command::Rebind { path, client: None, source: None });
        let client = Some("127.0.0.1:5".parse().unwrap());
        let source = Some("127.0.0.9".parse().unwrap());
        assert_eq!(
            command("rebind 1 from 127.0.0.9 client 127.0.0.1:5"),
            Command::Rebind { path, client, source }
        );
        assert_eq!(
            command("set 0 rate=20M down-loss=1%"),
            Command::Set(
                Which::One(0),
                vec![Change::rate(Ways::Both, mbps(20)), Change::loss(Ways::Down, 0.01)]
            )
        );
    }

    #[test]
    fn what_is_shown_can_be_read() {
        for line in [
            "cut-up all",
            "restore-down 2",
            "rebind 1 client 127.0.0.1:5 from 127.0.0.9",
            "set 0 up-rate=1000k loss=1%",
        ] {
            assert_eq!(command(line).to_string(), line);
        }
    }

    #[test]
    fn every_refusal_says_what_would_be_right() {
        for (line, hint) in [
            ("", "cut-up"),
            ("kill 1", "restore"),
            ("cut", "number of a path"),
            ("cut one", "nor all"),
            ("cut -1", "nor all"),
            ("cut 1 2", "what is `2`"),
            ("restore 1 now", "what is `now`"),
            ("set 1", "rate=20M"),
            ("set 1 rate", "rate=50M"),
            ("rebind 1 to 127.0.0.1", "from IP"),
            ("rebind 1 from", "no IP address"),
            ("rebind 1 client 127.0.0.1", "IP:PORT"),
        ] {
            let sentence = line.parse::<Command>().expect_err(line);
            assert!(sentence.contains(hint), "{line}: {sentence}");
        }
    }
}
