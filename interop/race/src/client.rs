//! The workloads over any stack.
//!
//! Owns the loops and the counting; a stack lends connections and their streams. Everything is on one thread.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use interop_perf::protocol::{Opening, Receiving, Sending};
use tokio::task::{JoinHandle, spawn_local};

use crate::conversation::Conversation;
use crate::outcome::Tally;
use crate::server::{write_zeros, zeros};
use crate::workload::Workload;
use crate::{Failure, Unsupported};

/// Connections that are being made at once when many are prepared.
const PREPARED_AT_ONCE: u32 = 16;
/// A server that has tickets has sent one by then.
const TICKET_LIMIT: Duration = Duration::from_secs(2);
/// A datagram that is not back by then is lost.
const DATAGRAM_LIMIT: Duration = Duration::from_millis(50);

/// A client's end of a stack: makes connections.
pub trait Stack: 'static {
    /// A connection.
    type Link: Link;
    /// What a client keeps of one connection for the next, beginning with nothing.
    type Memory: Clone + 'static;

    /// An empty memory; none if the stack cannot resume.
    fn memory(&self) -> Option<Self::Memory>;

    /// Makes a connection; with the tickets of a memory and into it, if there is one.
    fn connect(&self, memory: Option<&Self::Memory>) -> impl Future<Output = Result<Self::Link, Failure>>;

    /// Waits until the connection made last with this memory has left a ticket there.
    fn remembered(
        &self,
        memory: &Self::Memory,
        link: &Self::Link,
    ) -> impl Future<Output = Result<(), Failure>>;

    /// Did this connection, made with this memory, do without the server's certificate?
    fn was_resumed(&self, memory: &Self::Memory, link: &Self::Link) -> bool;
}

/// A connection of the race.
pub trait Link: Opening + Clone + 'static {
    /// Says good-bye.
    fn close(&self);

    /// The largest datagram that can be sent, if the server takes any.
    fn datagram_bytes_max(&self) -> Option<usize>;

    /// Sends a datagram, or drops an older one.
    fn send_datagram(&self, bytes: Bytes) -> Result<(), Failure>;

    /// The next datagram.
    fn read_datagram(&self) -> impl Future<Output = Result<Bytes, Failure>>;
}

/// Does a workload and says what came of it.
pub async fn work<S: Stack>(stack: S, workload: Workload) -> Result<(), Failure> {
    let (stack, mut talk) = (Rc::new(stack), Conversation::new());
    match workload {
        Workload::Transfer { download, upload, connections, streams, .. } => {
            let links = connect(&stack, connections).await?;
            talk.ready().await?;
            let course = Course::new(workload);
            let request = Request { download, upload };
            let tasks = links.iter().flat_map(|link| std::iter::repeat_n(link, streams as usize));
            join(tasks.map(|link| spawn_local(transfers(link.clone(), request, course.clone())))).await?;
            course.tell(&talk)?;
            talk.over().await;
            links.iter().for_each(Link::close);
        }
        Workload::Handshakes { resumed, at_once, .. } => {
            let memories = memories(&stack, resumed, at_once).await?;
            talk.ready().await?;
            let course = Course::new(workload);
            let shakers = memories
                .into_iter()
                .map(|memory| spawn_local(handshakes(Rc::clone(&stack), memory, course.clone())));
            join(shakers).await?;
            course.tell(&talk)?;
            talk.over().await;
        }
        Workload::Datagrams { size, at_once, .. } => {
            let link = stack.connect(None).await?;
            let fits =
                link.datagram_bytes_max().ok_or_else(|| unsupported("the server takes no datagrams"))?;
            if fits < size as usize {
                return Err(unsupported(&format!("the server takes datagrams of {fits} bytes at most")));
            }
            talk.ready().await?;
            let course = Course::new(workload);
            datagrams(&link, size, at_once, &course).await?;
            course.tell(&talk)?;
            talk.over().await;
            link.close();
        }
        Workload::Idle { connections } => {
            let links = connect(&stack, connections).await?;
            talk.ready().await?;
            talk.over().await;
            links.iter().for_each(Link::close);
        }
    }
    // What was said last is to leave.
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(())
}

fn unsupported(what: &str) -> Failure {
    Unsupported(what.to_owned()).into()
}

/// Until when, and what was done so far.
#[derive(Clone)]
struct Course {
    until: Instant,
    tally: Rc<RefCell<Tally>>,
}

impl Course {
    fn new(workload: Workload) -> Self {
        let tally = Rc::new(RefCell::new(Tally::new()));
        Self { until: Instant::now() + workload.time().unwrap_or_default(), tally }
    }

    fn tell(&self, talk: &Conversation) -> Result<(), Failure> {
        talk.tell(&self.tally.borrow().outcome())
    }
}

async fn join(tasks: impl Iterator<Item = JoinHandle<Result<(), Failure>>>) -> Result<(), Failure> {
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    Ok(())
}

/// Makes so many connections, some at a time.
async fn connect<S: Stack>(stack: &Rc<S>, count: u32) -> Result<Vec<S::Link>, Failure> {
    let links = Rc::new(RefCell::new(Vec::new()));
    let wanted = Rc::new(std::cell::Cell::new(count));
    join((0..PREPARED_AT_ONCE.min(count)).map(|_| {
        let (stack, links, wanted) = (Rc::clone(stack), Rc::clone(&links), Rc::clone(&wanted));
        spawn_local(async move {
            while let Some(left) = wanted.get().checked_sub(1) {
                wanted.set(left);
                let link = stack.connect(None).await?;
                links.borrow_mut().push(link);
            }
            Ok(())
        })
    }))
    .await?;
    Ok(links.take())
}

#[derive(Clone, Copy)]
struct Request {
    download: u64,
    upload: u64,
}

async fn transfers<L: Link>(link: L, request: Request, course: Course) -> Result<(), Failure> {
    let mut begin = Instant::now();
    while begin < course.until {
        let (mut send, mut receive) = link.open().await?;
        send.write(Bytes::copy_from_slice(&request.download.to_be_bytes())).await?;
        write_zeros(&mut send, request.upload).await?;
        send.finish()?;
        let mut received = 0;
        while let Some(bytes) = receive.read().await? {
            received += bytes.len() as u64;
        }
        if received != request.download {
            return Err(format!("asked for {} bytes and got {received}", request.download).into());
        }
        let now = Instant::now();
        course.tally.borrow_mut().on_done(request.download + request.upload, now - begin);
        begin = now;
    }
    Ok(())
}

/// One for each task; for resumption each has a ticket already.
async fn memories<S: Stack>(
    stack: &Rc<S>,
    resumed: bool,
    count: u32,
) -> Result<Vec<Option<S::Memory>>, Failure> {
    let mut memories = Vec::new();
    for _ in 0..count {
        if !resumed {
            memories.push(None);
            continue;
        }
        let memory = stack.memory().ok_or_else(|| unsupported("this client cannot resume"))?;
        let link = stack.connect(Some(&memory)).await?;
        remembered(&**stack, &memory, &link).await?;
        stack.was_resumed(&memory, &link); // it was not, and what comes then counts anew
        link.close();
        memories.push(Some(memory));
    }
    Ok(memories)
}

async fn remembered<S: Stack>(stack: &S, memory: &S::Memory, link: &S::Link) -> Result<(), Failure> {
    match tokio::time::timeout(TICKET_LIMIT, stack.remembered(memory, link)).await {
        Ok(result) => result,
        Err(_) => Err(unsupported("the server sends no tickets")),
    }
}

async fn handshakes<S: Stack>(
    stack: Rc<S>,
    memory: Option<S::Memory>,
    course: Course,
) -> Result<(), Failure> {
    loop {
        let begin = Instant::now();
        if begin >= course.until {
            return Ok(());
        }
        let link = stack.connect(memory.as_ref()).await?;
        let took = begin.elapsed();
        let resumed = match &memory {
            Some(memory) => {
                remembered(&*stack, memory, &link).await?;
                stack.was_resumed(memory, &link)
            }
            None => false,
        };
        course.tally.borrow_mut().on_handshake(resumed, took);
        link.close();
    }
}

async fn datagrams<L: Link>(link: &L, size: u32, at_once: u32, course: &Course) -> Result<(), Failure> {
    let mut under_way = 0;
    let mut silence = tokio::time::interval(DATAGRAM_LIMIT);
    let mut heard = true;
    while Instant::now() < course.until {
        while under_way < at_once {
            link.send_datagram(zeros(size.into()))?;
            under_way += 1;
        }
        tokio::select! {
            biased;
            bytes = link.read_datagram() => {
                heard = true;
                under_way = under_way.saturating_sub(1);
                // Both ways; how long one took is not known, since they are all alike.
                course.tally.borrow_mut().on_done(2 * bytes?.len() as u64, Duration::ZERO);
            }
            _ = silence.tick() => {
                if !std::mem::take(&mut heard) {
                    under_way = 0; // lost, all of them
                }
            }
        }
    }
    match course.tally.borrow().outcome().operations {
        0 => Err(unsupported("the server returns no datagrams")),
        _ => Ok(()),
    }
}
