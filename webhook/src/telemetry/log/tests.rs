//! Whoever logs never waits, and what was logged comes out.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;

/// Hands every write to a test; a test that takes none is a reader that is stuck.
struct Piped(SyncSender<Vec<u8>>);

impl Write for Piped {
    fn write(&mut self, batch: &[u8]) -> io::Result<usize> {
        self.0.send(batch.to_owned()).map_err(io::Error::other)?;
        Ok(batch.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn writing(lines: &Arc<Lines>) -> (Receiver<Vec<u8>>, thread::JoinHandle<()>) {
    let (sender, receiver) = sync_channel(0);
    let lines = Arc::clone(lines);
    let writer = thread::spawn(move || lines.write_to(Piped(sender), Duration::ZERO));
    (receiver, writer)
}

#[test]
fn lines_come_out_whole_and_in_order_also_the_last_ones() {
    let lines = Arc::new(Lines::default());
    let (written, writer) = writing(&lines);
    let reader = thread::spawn(move || written.iter().flatten().collect::<Vec<u8>>());
    let expected: String = (0..1000).map(|number| format!("line {number}\n")).collect();

    for line in expected.split_inclusive('\n') {
        lines.put(line.as_bytes());
    }
    lines.finish(Duration::from_secs(10));

    writer.join().unwrap();
    assert_eq!(String::from_utf8(reader.join().unwrap()).unwrap(), expected);
}

#[test]
fn a_reader_that_is_stuck_holds_up_nobody_and_what_is_lost_is_counted() {
    let lines = Arc::new(Lines::default());
    let (written, _writer) = writing(&lines);
    let line = [b'x'; 1024];
    // The writer takes the count of lost lines together with a batch: let it take one before lines
    // are lost.
    lines.put(&line);
    while !lines.state().waiting.is_empty() {
        thread::yield_now();
    }

    for _ in 0..3 * MOST_WAITING / line.len() {
        lines.put(&line);
    }

    let state = lines.state();
    assert!(state.waiting.len() <= MOST_WAITING, "{}", state.waiting.len());
    assert!(state.lost >= MOST_WAITING / line.len(), "{}", state.lost);
    drop((state, written));
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let lines = Arc::new(Lines::default());
    let (_stuck, _writer) = writing(&lines);
    lines.put(b"a line that nobody reads\n");

    lines.finish(Duration::from_millis(10));

    assert!(!lines.state().is_idle());
}
