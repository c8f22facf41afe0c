//! One run from its plan to its report.
//!
//! Owns the order: server, sockets, workers, start when all connections stand, both ends' numbers at the begin and
//! at the end, stop, the machine's own limit; and how often. Speaks to people on standard error only. Measures nothing
//! itself.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use braid_quic::log::LogFactory;
use braid_quic::{ClientConfig, EndpointConfig, Instant, PacketProtection, Role};
use braid_server::config::available_cores;
use braid_server::crew::{self, Crew, Ended};
use braid_server::qlog::Recorder;

use crate::ceiling;
use crate::client::churn::LINGERING_MAX;
use crate::client::follow::{self, Follow, Wishes};
use crate::client::sockets::{self, Wiring, shares};
use crate::client::{Client, Gate, Part, Task, WorkerResult, tls};
use crate::hdr;
use crate::inside::{self, Inside};
use crate::measure::Measure;
use crate::plan::{Ends, Host, Plan, Trust};
use crate::report::assemble::{Ceiling, Findings};
use crate::report::environment::Environment;
use crate::report::metrics::summarize;
use crate::report::settings::Settings;
use crate::report::{Report, limit};
use crate::secrets::{Secrets, random_seed};
use crate::server_side::ServerSide;
use crate::units::show_rate;

/// How long connections may take to come up before the run starts without the rest.
const GATHER_MAX: Duration = Duration::from_secs(30);
/// Every worker hears of the start before it comes.
const START_AHEAD: Duration = Duration::from_millis(20);
/// How often the main thread looks around.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often the line that people watch changes.
const LINE_EVERY: Duration = Duration::from_millis(200);
/// How long closed connections repeat to the server that they are closed.
const GRACE: Duration = Duration::from_millis(200);

/// What a run left behind.
pub(crate) struct Outcome {
    pub(crate) report: Report,
    /// Why something failed and how often; empty if nothing did.
    pub(crate) failures: Vec<String>,
}

/// Why a run could not take place.
pub(crate) enum Refusal {
    /// The command line names something that does not exist or makes no sense.
    Usage(String),
    /// Something did not work.
    Failed(String),
}

impl From<String> for Refusal {
    fn from(sentence: String) -> Self {
        Self::Failed(sentence)
    }
}

/// Who is loaded.
enum Server<'a> {
    Inside(Box<Inside>),
    Outside { target: &'a Host, stats_from: Option<SocketAddr> },
}

/// How the connections reach their server.
enum Way {
    /// By paths between these addresses.
    Fixed(Vec<Ends>),
    /// By whatever interfaces there are.
    Following(Box<Wishes>),
}

/// One run of several.
struct Once {
    report: Report,
    failures: Vec<String>,
    measure: Measure,
    began: SystemTime,
}

/// Does what `plan` says, as often as it says.
pub(crate) fn run(plan: &Plan) -> Result<Outcome, Refusal> {
    if let Some(following) = &plan.following {
        follow::check(following).map_err(Refusal::Usage)?;
    }
    let log = plan.hdr.as_ref().map(|path| {
        let told = |error| Refusal::Usage(format!("cannot write {}: {error}", path.display()));
        std::fs::File::create(path).map_err(told)
    });
    let log = log.transpose()?;
    let (mut reports, mut measures, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=plan.repeat {
        if plan.repeat > 1 {
            note(&format!("run {number} of {}", plan.repeat));
        }
        let Once { report, failures: of_run, measure, began } = once(plan)?;
        reports.push(report);
        measures.push((measure, began));
        failures.extend(of_run);
    }
    if let Some(mut file) = log {
        let runs = measures
            .iter()
            .filter_map(|(measure, began)| Some(hdr::Run { began: *began, intervals: measure.intervals()? }));
        let written = hdr::write(&mut file, &runs.collect::<Vec<_>>());
        failures.extend(written.err().map(|error| format!("the log of latencies is incomplete: {error}")));
    }
    let report = summarize(reports).ok_or_else(|| "nothing was measured".to_owned())?;
    if report.limited_by == Some(limit::LimitedBy::Client) {
        note("the client was the bottleneck: this says little about the server");
    }
    Ok(Outcome { report, failures })
}

/// One run.
fn once(plan: &Plan) -> Result<Once, Refusal> {
    let (client_cores, server_cores) = inside::share_cores(&available_cores(), plan.workers);
    let recorder = plan.qlog.as_ref().map(|qlog| Recorder::start(qlog, Role::Client)).transpose();
    let (log, recorder) = recorder.map_err(|error| Refusal::Usage(error.to_string()))?.unzip();
    let server = Server::start(plan, server_cores)?;
    let task = Arc::new(task(plan, &server, log)?);
    let before = server.side();
    let crew = start(plan, &server.way(plan)?, &task, &client_cores)?;
    gather(plan, &task.gate, &crew);
    let (began, sides) = measure(plan, &task.gate, &server, &crew);
    let ended = crew.stop(GRACE);
    let mut failures = server.stop();
    failures.extend(ended.iter().filter_map(|end| end.failure.clone()));
    failures.extend(recorder.into_iter().flat_map(|recorder| recorder.stop().complaints()));
    let ceiling = plan.ceiling.then(|| ceiling(plan, sides.as_ref().map(|(_, end)| end)));
    let ceiling = ceiling.transpose().map_err(|error| format!("no ceiling: {error}"))?;
    Ok(outcome(plan, ended, (before, sides), ceiling, failures, began))
}

/// This machine's own limit with what protects the packets of the data sender, and with aws-lc-rs.
fn ceiling(plan: &Plan, server: Option<&ServerSide>) -> std::io::Result<Ceiling> {
    let told = server.and_then(ServerSide::packet_protection).and_then(|name| name.parse().ok());
    let ours = plan.packet_protection.resolved();
    let by: PacketProtection = told.filter(|_| plan.load.is_download()).unwrap_or(ours);
    let sealed = |by| ceiling::sealed(plan.io, plan.datagram_bytes.into(), by);
    let aws_lc_rs = sealed(PacketProtection::AwsLc)?;
    let in_use = if by == PacketProtection::AwsLc { aws_lc_rs } else { sealed(by)? };
    let (packet_protection, datagram_bytes) = (by.to_string(), plan.datagram_bytes);
    Ok(Ceiling { packet_protection, datagram_bytes, in_use, aws_lc_rs })
}

impl<'a> Server<'a> {
    fn start(plan: &'a Plan, cores: Vec<usize>) -> Result<Self, String> {
        let Some(target) = &plan.target else {
            let inside = Inside::start(plan, cores)?;
            inside.server().warnings().iter().for_each(|warning| note(warning));
            return Ok(Self::Inside(Box::new(inside)));
        };
        if plan.scheduler.is_some() || plan.congestion.is_some() {
            note(
                "--scheduler and --congestion govern what this client sends; for its own direction the target decides",
            );
        }
        Ok(Self::Outside { target, stats_from: plan.stats_from })
    }

    fn way(&self, plan: &Plan) -> Result<Way, String> {
        let ends = match (self, &plan.following) {
            (Self::Inside(inside), _) => plan.ends_inside(inside.listen(), inside.server().local_addrs()),
            (Self::Outside { target, .. }, None) => plan.ends_outside(target),
            (Self::Outside { target, .. }, Some(following)) => {
                return Ok(Way::Following(Box::new(Wishes {
                    remotes: plan.remotes_outside(target)?,
                    policy: following.policy(plan.paths),
                    metered: following.metered.clone(),
                })));
            }
        };
        ends.map(Way::Fixed)
    }

    /// The server now, if it tells.
    fn side(&self) -> Option<ServerSide> {
        match self {
            Self::Inside(inside) => Some(ServerSide::of(&inside.server().stats())),
            Self::Outside { stats_from, .. } => {
                ServerSide::ask((*stats_from)?).inspect_err(|sentence| note(sentence)).ok()
            }
        }
    }

    fn stop(self) -> Vec<String> {
        match self {
            Self::Inside(inside) => inside.stop(),
            Self::Outside { .. } => Vec::new(),
        }
    }
}

/// What all workers have in common.
fn task(plan: &Plan, server: &Server<'_>, log: Option<LogFactory>) -> Result<Task, Refusal> {
    let resumes = plan.load.resumes(); // else every connection of a run shall cost the same
    let protection = plan.packet_protection;
    let tls = match (&plan.trust, server) {
        (Trust::Signed(file), _) => tls::signed_by(file, protection, resumes).map_err(Refusal::Usage)?,
        (Trust::Pinned, Server::Inside(inside)) => tls::pinned(inside.certificate()?, protection, resumes)?,
        (Trust::Pinned | Trust::Any, _) => {
            note("--insecure: nobody checks who the target is");
            tls::trusting(protection, resumes)?
        }
    };
    let name = match server {
        Server::Inside(_) => inside::NAME,
        Server::Outside { target, .. } => plan.server_name.as_deref().unwrap_or(&target.name),
    };
    Ok(Task {
        config: ClientConfig { tls, transport: inside::client_transport(plan, log) },
        server_name: tls::server_name(name).map_err(Refusal::Usage)?,
        idle_transport: inside::idle_transport(plan),
        load: plan.load.clone(),
        seed: plan.seed.unwrap_or_else(random_seed),
        logs_latency: plan.hdr.is_some(),
        kills: plan.kills.clone(),
        races: matches!(server, Server::Outside { .. }),
        gate: Gate::default(),
    })
}

/// Binds all sockets and starts the workers on them.
fn start(plan: &Plan, way: &Way, task: &Arc<Task>, cores: &[usize]) -> Result<Crew<Client>, String> {
    let mut plans = Vec::with_capacity(plan.workers);
    let mut warning = None;
    let secrets = Secrets::new(plan.seed);
    let lingering = if plan.load.churns() { LINGERING_MAX } else { 0 };
    let load = &plan.load;
    let parts = shares(load.connections, plan.workers).zip(shares(load.idle, plan.workers));
    for (worker, (connections, idle)) in parts.enumerate() {
        let task = Arc::clone(task);
        let part = Part { worker, workers: plan.workers, connections, idle };
        let (application, sockets, sockets_max) = match way {
            Way::Fixed(ends) => {
                let Wiring { sockets, routes } = Wiring::bind(ends, connections + idle, plan.sockets)?;
                let count = sockets.len() as u16;
                (Client::new(task, part, routes), sockets, count)
            }
            Way::Following(wishes) => {
                let (follow, sockets) = Follow::new(wishes, part.standing(load))?;
                (Client::following(task, part, follow), sockets, follow::SOCKETS_MAX)
            }
        };
        warning = warning.or_else(|| sockets::warning(&sockets));
        let kind = plan.io;
        let udp = braid_udp_uring::Config { kind, sockets_max, ..braid_udp_uring::Config::default() };
        plans.push(crew::Plan {
            core: cores.get(worker).copied(),
            endpoint: EndpointConfig {
                connections_max: connections + idle + lingering,
                ..EndpointConfig::new(secrets.cid_key(), secrets.reset_key())
            },
            udp,
            application,
            sockets,
        });
    }
    warning.inspect(|warning| note(warning));
    Crew::start("client", plans, None).map_err(|error| error.to_string())
}

/// Waits until every connection stands or has failed, and says what is missing.
fn gather(plan: &Plan, gate: &Gate, crew: &Crew<Client>) {
    let until = now() + GATHER_MAX;
    let all = plan.load.standing();
    while gate.settled() < all && now() < until && crew.failures().is_empty() {
        std::thread::sleep(LOOK_EVERY);
    }
    match (gate.without_multipath(), gate.without_all_paths()) {
        (0, 0) => {}
        (0, some) => {
            note(&format!("{some} of {all} connections go without some of their paths"));
        }
        (_, _) => note("the server speaks no multipath: one path each"),
    }
}

/// Opens the gate, waits for the end, and looks at the server when the measurement begins and ends.
fn measure(
    plan: &Plan,
    gate: &Gate,
    server: &Server<'_>,
    crew: &Crew<Client>,
) -> (SystemTime, Option<(ServerSide, ServerSide)>) {
    let start = now() + START_AHEAD;
    gate.open(start);
    let begin = start + plan.load.warmup;
    let (standing, churns) = (plan.load.standing(), plan.load.churns());
    let is_over = || (!churns && gate.lost() >= standing) || !crew.failures().is_empty();
    let mut line = Line::new(start);
    let mut wait_until = |until: Instant| {
        while now() < until && !is_over() {
            let left = until.since(now());
            std::thread::sleep(left.min(LOOK_EVERY));
            line.show(gate);
        }
    };
    wait_until(begin);
    let began = SystemTime::now();
    let first = server.side();
    wait_until(begin + plan.load.duration);
    let last = server.side();
    line.clear();
    (began, first.zip(last))
}

/// Sums up what the workers bring back.
fn outcome(
    plan: &Plan,
    ended: Vec<Ended<Client>>,
    (before, server): (Option<ServerSide>, Option<(ServerSide, ServerSide)>),
    ceiling: Option<Ceiling>,
    mut failures: Vec<String>,
    began: SystemTime,
) -> Once {
    let gso = ended.iter().all(|end| end.stats.udp.gso_fallbacks == 0);
    let uring = ended.iter().all(|end| end.stats.io == "uring");
    let mut measure = Measure::new();
    let mut connections = Vec::with_capacity(plan.load.standing());
    let mut client_spent = Vec::with_capacity(plan.workers);
    for client in ended.into_iter().filter_map(|end| end.application) {
        let WorkerResult { measure: of_worker, paths, spent, complaint } = client.into_result();
        complaint.inspect(|complaint| note(complaint));
        measure.merge(&of_worker);
        connections.extend(paths);
        client_spent.push(spent);
    }
    failures.extend(measure.failures().iter().map(|(reason, count)| format!("{count} x {reason}")));
    if plan.load.resumes() && measure.completed() > 0 && measure.handshakes_resumed() == 0 {
        failures.push("no handshake took up an earlier session: the server gives no tickets for it".into());
    }
    let longest = connections.iter().map(Vec::len).max().unwrap_or(0);
    let findings = Findings {
        load: &plan.load,
        settings: Settings::of(plan),
        inside: plan.target.is_none(),
        paths: match &plan.following {
            Some(_) => longest,
            None if plan.load.standing() == 0 => 0, // connections that come and go are not told by path
            None => plan.paths,
        },
        measure: &measure,
        connections: &connections,
        client_spent: &client_spent,
        before,
        server,
        ceiling,
        environment: Environment::here(if uring { "uring" } else { "mmsg" }, gso),
    };
    Once { report: findings.report(), failures, measure, began }
}

/// The line that people watch while a run lasts; silent where nobody can see it.
struct Line {
    visible: bool,
    start: Instant,
    shown_at: Instant,
    shown_bytes: u64,
}

impl Line {
    fn new(start: Instant) -> Self {
        Self { visible: std::io::stderr().is_terminal(), start, shown_at: start, shown_bytes: 0 }
    }

    fn show(&mut self, gate: &Gate) {
        let now = now();
        let since = now.since(self.shown_at);
        if !self.visible || since < LINE_EVERY {
            return;
        }
        let bytes = gate.moved_bytes();
        let rate = (bytes - self.shown_bytes) as f64 * 8.0 / since.as_secs_f64();
        (self.shown_at, self.shown_bytes) = (now, bytes);
        let elapsed = now.since(self.start).as_secs_f64();
        let lost = match gate.lost() {
            0 => String::new(),
            lost => format!("  {lost} connections lost"),
        };
        eprint!("\r{elapsed:5.1} s  {}{lost}\x1b[K", show_rate(rate));
        let _ = std::io::stderr().flush(); // a terminal that is gone is no reason to stop
    }

    fn clear(&self) {
        if self.visible {
            eprint!("\r\x1b[K");
        }
    }
}

fn now() -> Instant {
    Instant::from_nanos(braid_udp_uring::now())
}

fn note(text: &str) {
    eprintln!("loadgen: {text}");
}
