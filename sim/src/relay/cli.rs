//! The command line of `relay`.
//!
//! Owns its words and turns them into a `RelayConfig`, or into one sentence about what is wrong. Opens no socket.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use super::command::Command;
use super::settings::{Change, time};
use super::{RelayConfig, RelayPath};

/// Carries UDP between clients and a server over paths with a rate, a delay, a queue and losses of their own.
///
/// Each --path takes what clients send to LISTEN, carries it to TARGET, and the answers back; the server sees another
/// port for every client, as behind a NAT. Settings are rate=50M (bits per second of UDP payload), delay=10ms (one
/// way), queue=64K or queue=50ms, loss=1%, bursts=1%/20% (how likely a burst of losses begins and ends with each
/// datagram), jitter=2ms (more or less), mtu=1300; up- or down- in front means one way only, as in up-rate=5M.
/// from=IP is the address that the server sees.
///
/// Commands come from --at and, line by line, from standard input, where each is answered: cut N, cut-up N, cut-down N,
/// restore N (also restore-up, restore-down), rebind N [client IP:PORT] [from IP], set N SETTING..., stats, quit.
/// N counts from 0; `all` is every path.
#[derive(Debug, Parser)]
#[command(name = "relay", version, max_term_width = 100)]
struct CommandLine {
    /// One path; may be repeated.
    #[arg(long, value_names = ["LISTEN", "TARGET", "SETTING"], num_args = 2.., required = true)]
    path: Vec<String>,
    /// A command at a time after the first datagram, as in --at 2s cut 1; may be repeated.
    #[arg(long, value_names = ["TIME", "COMMAND"], num_args = 2..)]
    at: Vec<String>,
    /// Decides which datagrams are lost.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// End after this time; without it, at SIGTERM, SIGINT or `quit`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,
    /// At the end write all numbers as JSON to FILE, or to standard output for `-` instead of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The relay.
    pub config: RelayConfig,
    /// When to end without being told.
    pub duration: Option<Duration>,
    /// Where the JSON goes; `-` is standard output.
    pub json: Option<PathBuf>,
}

/// What to do instead of relaying.
#[derive(Clone, Debug)]
pub enum Instead {
    /// Help or version: print this and end well.
    Show(String),
    /// Complain in one sentence.
    Complain(String),
}

impl Options {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// Help, or one sentence about what is wrong.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, Instead> {
        let matches = CommandLine::command().try_get_matches_from(words).map_err(|error| instead(&error))?;
        let line = CommandLine::from_arg_matches(&matches).map_err(|error| instead(&error))?;
        let each = |name: &str| -> Vec<Vec<String>> {
            let found = matches.get_occurrences::<String>(name).into_iter().flatten();
            found.map(|words| words.cloned().collect()).collect()
        };
        let paths = each("path").iter().map(|words| path(words)).collect::<Result<_, _>>();
        let script = each("at").iter().map(|words| timed(words)).collect::<Result<_, _>>();
        let config = RelayConfig {
            paths: paths.map_err(Instead::Complain)?,
            script: script.map_err(Instead::Complain)?,
            seed: line.seed,
        };
        Ok(Self { config, duration: line.duration, json: line.json })
    }
}

fn path(words: &[String]) -> Result<RelayPath, String> {
    let [listen, target, settings @ ..] = words else { return Err("--path needs LISTEN and TARGET".into()) };
    let mut path = RelayPath::to(address(listen)?, address(target)?);
    for word in settings {
        match word.strip_prefix("from=") {
            Some(ip) => path.source = Some(source(ip)?),
            None => path.apply(Change::parse(word)?),
        }
    }
    Ok(path)
}

fn timed(words: &[String]) -> Result<(Duration, Command), String> {
    let [after, command @ ..] = words else { return Err("--at needs TIME and COMMAND".into()) };
    Ok((time(after)?, command.join(" ").parse()?))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is no IP:PORT, as 127.0.0.1:4433 or [::1]:4433"))
}

fn source(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("from=`{text}` is no IP address"))
}

fn instead(error: &clap::Error) -> Instead {
    let text = error.render().to_string();
    if !error.use_stderr() {
        return Instead::Show(text);
    }
    let first = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
    Instead::Complain(first.trim_start_matches("error: ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueueLimit;
    use crate::relay::{LaneSettings, Ways, Which};
    use crate::units::{mbps, ms};

    fn read(line: &str) -> Result<Options, Instead> {
        Options::read(std::iter::once("relay").chain(line.split_whitespace()).map(OsString::from))
    }

    fn sentence(line: &str) -> String {
        match read(line) {
            Err(Instead::Complain(sentence)) => sentence,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn each_path_has_its_own_words() {
        let options = read(
            "--path 127.0.0.1:1 127.0.0.1:4433 rate=50M delay=10ms down-loss=1% \
             --path 127.0.0.2:1 127.0.0.1:4433 queue=64K from=127.0.0.9 --seed 7",
        )
        .unwrap();
        let [first, second] = &options.config.paths[..] else { panic!("{options:?}") };
        let mut up = LaneSettings::default();
        up.apply(Change::rate(Ways::Both, mbps(50)));
        up.apply(Change::delay(Ways::Both, ms(10)));
        let mut down = up.clone();
        down.apply(Change::loss(Ways::Both, 0.01));
        assert_eq!((&first.up, &first.down, first.source), (&up, &down, None));
        let mut queued = LaneSettings::default();
        queued.apply(Change::queue(Ways::Both, QueueLimit::Bytes(65_536)));
        assert_eq!((&second.up, second.source), (&queued, Some([127, 0, 0, 9].into())));
        assert_eq!(options.config.seed, 7);
    }

    #[test]
    fn each_time_has_one_command() {
        let options =
            read("--path 127.0.0.1:1 127.0.0.1:2 --at 2s cut 0 --at 500ms set all rate=1M --json -").unwrap();
        assert_eq!(options.config.script[0], (ms(2000), Command::Cut(Which::One(0), Ways::Both)));
        let slower = Command::Set(Which::All, vec![Change::rate(Ways::Both, mbps(1))]);
        assert_eq!(options.config.script[1], (ms(500), slower));
        assert_eq!((options.json, options.duration), (Some("-".into()), None));
    }

    #[test]
    fn every_refusal_is_one_sentence_that_names_the_culprit() {
        for (line, hint) in [
            ("", "--path"),
            ("--path 127.0.0.1:1", "--path"),
            ("--path localhost:1 127.0.0.1:2", "localhost:1"),
            ("--path 127.0.0.1:1 127.0.0.1:2 fast", "rate=50M"),
            ("--path 127.0.0.1:1 127.0.0.1:2 from=home", "home"),
            ("--path 127.0.0.1:1 127.0.0.1:2 --at 2 cut 0", "500us"),
            ("--path 127.0.0.1:1 127.0.0.1:2 --at 2s kill 0", "kill"),
            ("--path 127.0.0.1:1 127.0.0.1:2 --fast", "--fast"),
        ] {
            let sentence = sentence(line);
            assert!(sentence.contains(hint) && !sentence.contains('\n'), "{line}: {sentence}");
        }
        assert!(matches!(read("--help"), Err(Instead::Show(text)) if text.contains("cut-up")));
    }
}
