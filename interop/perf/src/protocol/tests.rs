//! The protocol over channels instead of streams.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// A half of a stream: dropping it or `finish` ends it.
struct Out(Option<Sender<Bytes>>);
struct In(Receiver<Bytes>);

impl Sending for Out {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.0.as_ref().ok_or("finished")?.send(bytes).await.map_err(|_| "nobody reads".into())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.0.take().map(drop).ok_or_else(|| "finished twice".into())
    }
}

impl Receiving for In {
    async fn read(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.0.recv().await)
    }
}

fn pipe() -> (Out, In) {
    let (sender, receiver) = channel(4);
    (Out(Some(sender)), In(receiver))
}

/// A connection whose streams were made beforehand.
struct Ready(Mutex<VecDeque<(Out, In)>>);

impl Opening for Ready {
    type Send = Out;
    type Receive = In;

    async fn open(&self) -> Result<(Out, In), Failure> {
        self.0.lock().unwrap().pop_front().ok_or_else(|| "no more streams".into())
    }
}

fn options(line: &str) -> ClientOptions {
    ClientOptions::read(line.split(' ').map(Into::into)).unwrap()
}

/// Writes these `pieces`, in answer to whatever.
async fn say(mut send: Out, mut receive: In, pieces: &[&'static [u8]]) {
    receive.read().await.unwrap();
    for piece in pieces {
        send.write(Bytes::from_static(piece)).await.unwrap();
    }
    send.finish().unwrap();
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

#[test]
fn a_client_gets_what_it_asked_for_on_every_stream() {
    let report = block_on(async {
        let mut streams = VecDeque::new();
        for _ in 0..3 {
            let (client_out, server_in) = pipe();
            let (server_out, client_in) = pipe();
            streams.push_back((client_out, client_in));
            tokio::spawn(async { answer(server_out, server_in).await.unwrap() });
        }
        let options = options("127.0.0.1:1 --streams 3 --download 1000001 --upload 300000");
        ask(&Ready(Mutex::new(streams)), &options).await.unwrap()
    });
    assert_eq!((report.requests, report.bytes_received, report.bytes_sent), (3, 3_000_003, 900_000));
}

#[test]
fn a_request_may_arrive_in_pieces_together_with_upload() {
    let bytes = block_on(async {
        let (mut client_out, server_in) = pipe();
        let (server_out, mut client_in) = pipe();
        for piece in [&[0, 0, 0][..], &[0, 0, 0, 1], &[2, 9, 9, 9]] {
            client_out.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        client_out.finish().unwrap();
        tokio::spawn(async { answer(server_out, server_in).await.unwrap() });
        let mut bytes = 0;
        while let Some(piece) = client_in.read().await.unwrap() {
            bytes += piece.len();
        }
        bytes
    });
    assert_eq!(bytes, 0x0102);
}

#[test]
fn a_request_cut_short_is_an_error() {
    let failure = block_on(async {
        let ((mut client_out, server_in), (server_out, _client_in)) = (pipe(), pipe());
        client_out.write(Bytes::from_static(&[0; 7])).await.unwrap();
        client_out.finish().unwrap();
        answer(server_out, server_in).await.unwrap_err()
    });
    assert!(failure.to_string().contains("within its request"));
}

#[test]
fn answers_that_are_short_long_or_not_zeros_are_errors() {
    const WRONG: [(&[&[u8]], &str); 3] = [
        (&[&[0; 5], &[0; 4]], "got 9"),
        (&[&[0; 5], &[0; 6]], "got 11"),
        (&[&[0; 5], &[0, 0, 0, 0, 1]], "from byte 5"),
    ];
    for (pieces, named) in WRONG {
        let failure = block_on(async {
            let ((client_out, server_in), (server_out, client_in)) = (pipe(), pipe());
            let connection = Ready(Mutex::new(VecDeque::from([(client_out, client_in)])));
            tokio::spawn(say(server_out, server_in, pieces));
            ask(&connection, &options("127.0.0.1:1 --download 10")).await.unwrap_err()
        });
        assert!(failure.to_string().contains(named), "{failure}");
    }
}
