//! A group of worker threads that start together, answer questions together and stop together.
//!
//! Owns the threads, pinned to their cores, and the queues by which others reach them. All sockets exist before the
//! first worker reads. Used by the server and, with client sockets and without steering, by load generators.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Clock};

use braid_quic::{Endpoint, EndpointConfig};
use braid_udp_uring::{Udp, UdpSocket, Waker};
use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::ArrayQueue;

use crate::error::StartError;
use crate::forward::Forwarder;
use crate::stats::WorkerStats;
use crate::steer::Steering;
use crate::system;
use crate::worker::{Application, COMMANDS_MAX, Command, Contacts, Snapshot, Worker};

/// How long a question to the workers waits for answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What one worker starts with.
#[derive(Debug)]
pub struct Plan<A> {
    /// The core it is pinned to, if any.
    pub core: Option<usize>,
    /// Its sockets; the position of each is its `LocalId`.
    pub sockets: Vec<UdpSocket>,
    /// Settings of its endpoint.
    pub endpoint: EndpointConfig,
    /// Settings of its engine.
    pub udp: braid_udp_uring::Config,
    /// What runs on its connections.
    pub application: A,
}

/// How the workers of a crew share datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    /// The rule.
    pub steering: Steering,
    /// The kernel follows the rule too, so that strays are exceptions.
    pub steered: bool,
}

/// How one worker ended.
#[derive(Debug)]
pub struct Ended<A> {
    /// What ran on its connections; `None` if the worker panicked.
    pub application: Option<A>,
    /// Its last statistics.
    pub stats: WorkerStats,
    /// Why it ended before it was told to.
    pub failure: Option<String>,
}

/// Running workers.
#[derive(Debug)]
pub struct Crew<A> {
    handle: CrewHandle,
    threads: Vec<JoinHandle<Ended<A>>>,
    failures: Receiver<String>,
}

/// Reaches the workers of a crew from any thread.
#[derive(Clone, Debug)]
pub struct CrewHandle {
    members: Arc<[Member]>,
}

#[derive(Debug)]
struct Member {
    commands: Arc<ArrayQueue<Command>>,
    waker: Waker,
    task: Option<PathBuf>,
}

impl<A: Application + Send + 'static> Crew<A> {
    /// Starts a thread for each plan, named `name` and its index. With `sharing`, datagrams that belong to another
    /// worker are forwarded; without, every worker keeps what it receives.
    pub fn start(name: &str, plans: Vec<Plan<A>>, sharing: Option<Sharing>) -> Result<Self, StartError> {
        let count = plans.len();
        let mut forwarders: Vec<Option<Forwarder>> = match sharing {
            Some(sharing) => {
                assert_eq!(sharing.steering.workers(), count, "the rule is for this many workers");
                Forwarder::group(sharing.steering, sharing.steered).into_iter().map(Some).collect()
            }
            None => (0..count).map(|_| None).collect(),
        };
        let (ready, is_ready) = bounded(count);
        let (alarm, failures) = bounded(count);
        let (mut threads, mut starts, mut queues) = (Vec::new(), Vec::new(), Vec::new());
        for (index, plan) in plans.into_iter().enumerate() {
            let commands = Arc::new(ArrayQueue::new(COMMANDS_MAX));
            let (start, go) = bounded(1);
            let recruit = Recruit {
                index,
                plan,
                forwarder: forwarders[index].take(),
                commands: Arc::clone(&commands),
                ready: ready.clone(),
                go,
                alarm: alarm.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || recruit.serve())
                .map_err(|error| StartError::Worker(index, error))?;
            threads.push(thread);
            starts.push(start);
            queues.push(commands);
        }
        drop(ready);
        let wakers = roll_call(&is_ready, count)?;
        let neighbours: Vec<Waker> = wakers.iter().map(|(waker, _)| waker.clone()).collect();
        for start in starts {
            // A worker that is gone by now has raised the alarm.
            let _ = start.send(neighbours.clone());
        }
        let members = wakers
            .into_iter()
            .zip(queues)
            .map(|((waker, task), commands)| Member { commands, waker, task })
            .collect();
        Ok(Self { handle: CrewHandle { members }, threads, failures })
    }

    /// Reaches the workers from elsewhere.
    pub fn handle(&self) -> CrewHandle {
        self.handle.clone()
    }

    /// Says something when a worker ends that was not told to.
    pub fn failures(&self) -> &Receiver<String> {
        &self.failures
    }

    /// Lets every worker close its connections, waits at most `grace` for the peers to hear of it, and ends.
    pub fn stop(mut self, grace: Duration) -> Vec<Ended<A>> {
        self.handle.tell_to_stop(grace);
        let ended = std::mem::take(&mut self.threads).into_iter().enumerate().map(|(index, thread)| {
            thread.join().unwrap_or_else(|_| Ended {
                application: None,
                stats: WorkerStats { worker: index, ..WorkerStats::default() },
                failure: Some(format!("worker {index} panicked")),
            })
        });
        ended.collect()
    }
}

/// A crew that is let go ends soon, without waiting for anybody.
impl<A> Drop for Crew<A> {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.handle.tell_to_stop(Duration::ZERO);
        }
    }
}

impl CrewHandle {
    /// Lets every worker begin a turn, so that its application looks into its own queues.
    pub fn wake(&self) {
        self.members.iter().for_each(|member| member.waker.wake());
    }

    /// The statistics of the workers that answer in time.
    pub fn stats(&self) -> Vec<WorkerStats> {
        self.describe(0).into_iter().flatten().map(|snapshot| snapshot.worker).collect()
    }

    /// Every worker with at most so many connections each; `None` for one that does not answer in time.
    pub(crate) fn describe(&self, connections_max: usize) -> Vec<Option<Snapshot>> {
        let until = Clock::now() + ANSWER_TIMEOUT;
        let ask = |member: &Member| {
            let (reply, answer) = bounded(1);
            member.tell(Command::Describe { connections_max, reply });
            answer
        };
        let answers: Vec<_> = self.members.iter().map(ask).collect();
        let hear = |(member, answer): (&Member, Receiver<Snapshot>)| {
            let mut snapshot = answer.recv_deadline(until).ok()?;
            snapshot.worker.cpu_s = member.task.as_deref().and_then(system::cpu_seconds);
            snapshot.worker.cpu_wait_s = member.task.as_deref().and_then(system::cpu_wait_seconds);
            Some(snapshot)
        };
        self.members.iter().zip(answers).map(hear).collect()
    }

    fn tell_to_stop(&self, grace: Duration) {
        self.members.iter().for_each(|member| member.tell(Command::Stop { grace }));
    }
}

impl Member {
    /// Hands over a command unless the queue is full, and wakes the worker.
    fn tell(&self, command: Command) {
        let _ = self.commands.push(command);
        self.waker.wake();
    }
}

/// What a thread reports when it could start: how to wake it, and where the system tells about it.
type Ready = (Waker, Option<PathBuf>);

/// Waits for every thread to be ready, or for the first that cannot be.
fn roll_call(
    is_ready: &Receiver<(usize, io::Result<Ready>)>,
    count: usize,
) -> Result<Vec<Ready>, StartError> {
    let mut present: Vec<Option<Ready>> = (0..count).map(|_| None).collect();
    while let Some(absent) = present.iter().position(Option::is_none) {
        let gone = || StartError::Worker(absent, io::Error::other("its thread ended before it was ready"));
        let (index, ready) = is_ready.recv().map_err(|_| gone())?;
        present[index] = Some(ready.map_err(|error| StartError::Worker(index, error))?);
    }
    Ok(present.into_iter().flatten().collect())
}

/// A worker's thread before it works.
struct Recruit<A> {
    index: usize,
    plan: Plan<A>,
    forwarder: Option<Forwarder>,
    commands: Arc<ArrayQueue<Command>>,
    ready: Sender<(usize, io::Result<Ready>)>,
    go: Receiver<Vec<Waker>>,
    alarm: Sender<String>,
}

impl<A: Application> Recruit<A> {
    fn serve(self) -> Ended<A> {
        let Self { index, plan, forwarder, commands, ready, go, alarm } = self;
        let _panic = PanicAlarm { index, alarm: alarm.clone() };
        let mut stats =
            WorkerStats { worker: index, core: plan.core.and_then(pin), ..WorkerStats::default() };
        let task = system::this_thread();
        let (udp, locals) = match engine(&plan.udp, plan.sockets) {
            Ok(made) => made,
            Err(error) => {
                let failure = Some(error.to_string());
                let _ = ready.send((index, Err(error)));
                return Ended { application: Some(plan.application), stats, failure };
            }
        };
        stats.io = udp.kind().to_string();
        stats.io_fallback = udp.fallback_reason().map(str::to_owned);
        let endpoint = Endpoint::new(plan.endpoint, random());
        let _ = ready.send((index, Ok((udp.waker(), task.clone()))));
        drop(ready);
        // Silence means that another worker could not start.
        let Ok(neighbours) = go.recv() else {
            return Ended { application: Some(plan.application), stats, failure: None };
        };
        let contacts = Contacts { commands, neighbours };
        let worker = Worker::new(udp, locals, endpoint, plan.application, forwarder, contacts, stats);
        let (application, mut stats, result) = worker.run();
        stats.cpu_s = task.as_deref().and_then(system::cpu_seconds);
        stats.cpu_wait_s = task.as_deref().and_then(system::cpu_wait_seconds);
        let failure = result.err().map(|error| format!("worker {index} failed: {error}"));
        if let Some(failure) = &failure {
            let _ = alarm.try_send(failure.clone());
        }
        Ended { application: Some(application), stats, failure }
    }
}

/// An engine with these sockets, and their addresses.
fn engine(config: &braid_udp_uring::Config, sockets: Vec<UdpSocket>) -> io::Result<(Udp, Vec<SocketAddr>)> {
    let mut udp = Udp::new(config)?;
    let mut locals = Vec::with_capacity(sockets.len());
    for socket in sockets {
        locals.push(socket.local_addr());
        let index = udp.add_socket(socket)?;
        debug_assert_eq!(usize::from(index.0) + 1, locals.len());
    }
    Ok((udp, locals))
}

/// Pins the calling thread; `None` if the system does not let us.
fn pin(core: usize) -> Option<usize> {
    core_affinity::set_for_current(core_affinity::CoreId { id: core }).then_some(core)
}

/// Octets that nobody can guess.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    aws_lc_rs::rand::fill(&mut octets).expect("the system has randomness");
    octets
}

/// Tells the owner when a worker's thread unwinds.
struct PanicAlarm {
    index: usize,
    alarm: Sender<String>,
}

impl Drop for PanicAlarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.alarm.try_send(format!("worker {} panicked", self.index));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use braid_quic::{ConnectionKey, Event, Instant};
    use braid_udp_uring::SocketConfig;

    use super::*;

    /// An application that panics in its first turn, or counts them.
    #[derive(Debug)]
    struct Clumsy {
        falls: bool,
        turns: u64,
    }

    impl Application for Clumsy {
        fn on_event(&mut self, _: &mut Endpoint, _: ConnectionKey, _: Event, _: Instant) {}

        fn on_turn(&mut self, _: &mut Endpoint, now: Instant) -> Option<Instant> {
            assert!(!self.falls, "as planned");
            self.turns += 1;
            Some(now + Duration::from_millis(1))
        }
    }

    fn plan(falls: bool, sockets_max: u16) -> Plan<Clumsy> {
        let any = SocketConfig::new((Ipv4Addr::LOCALHOST, 0).into());
        Plan {
            core: Some(0),
            sockets: (0..2).map(|_| UdpSocket::bind(&any).unwrap()).collect(),
            endpoint: EndpointConfig::new([1; 16], [2; 32]),
            udp: braid_udp_uring::Config { sockets_max, ..braid_udp_uring::Config::default() },
            application: Clumsy { falls, turns: 0 },
        }
    }

    #[test]
    fn a_crew_answers_and_gives_its_applications_back() {
        let crew = Crew::start("crew", vec![plan(false, 4), plan(false, 4)], None).unwrap();
        let stats = crew.handle().stats();
        assert_eq!(stats.iter().map(|worker| worker.worker).collect::<Vec<_>>(), [0, 1]);
        assert!(stats.iter().all(|worker| worker.cpu_s.is_some() && worker.core == Some(0)));
        for ended in crew.stop(Duration::ZERO) {
            assert!(ended.failure.is_none(), "{:?}", ended.failure);
            assert_eq!(ended.application.unwrap().turns, ended.stats.turns);
        }
    }

    #[test]
    fn a_panic_of_one_worker_is_told_and_the_others_go_on() {
        let crew = Crew::start("clumsy", vec![plan(true, 4), plan(false, 4)], None).unwrap();
        let told = crew.failures().recv_timeout(Duration::from_secs(20));
        assert_eq!(told.as_deref(), Ok("worker 0 panicked"));
        assert_eq!(crew.handle().stats().len(), 1);
        let ended = crew.stop(Duration::ZERO);
        assert!(ended[0].application.is_none() && ended[0].failure.is_some());
        assert!(ended[1].application.is_some() && ended[1].failure.is_none());
    }

    #[test]
    fn a_worker_that_cannot_start_is_named() {
        let refused = Crew::start("crew", vec![plan(false, 2), plan(false, 1)], None).unwrap_err();
        assert!(matches!(refused, StartError::Worker(1, _)), "{refused}");
    }
}
