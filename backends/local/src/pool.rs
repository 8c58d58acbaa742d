//! The threads that touch the disk, apart from the ones that run the program.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;

use tokio::sync::oneshot;
use wl_core::error::{Error, Fault, Result};

type Job = Box<dyn FnOnce() + Send>;

/// A few threads. Short jobs are never behind long ones: those run on as many threads as there are processors, and two
/// more are kept for short ones. A waiting job belongs to a waiting future, so that callers bound the queue.
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    long_at_once: usize,
}

#[derive(Default)]
struct Queue {
    short: VecDeque<Job>,
    long: VecDeque<Job>,
    threads: usize,
    idle: usize,
    long_running: usize,
    closed: bool,
}

/// How many short jobs a thread takes at a time at most.
const BATCH: usize = 16;

/// The outcome of a job that runs by itself. Dropped, it calls the job off.
pub struct Task<T>(oneshot::Receiver<Result<T>>);

impl<T> Future for Task<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|answer| answer.unwrap_or_else(|_| Err(Error::new(Fault::Broken, "a disk thread ended unexpectedly"))))
    }
}

impl Pool {
    /// No threads yet: they begin with the work.
    pub fn new() -> Self {
        let long_at_once = thread::available_parallelism().map_or(2, usize::from);
        Self { shared: Arc::new(Shared { queue: Mutex::default(), work: Condvar::new(), long_at_once }) }
    }

    /// Runs a short job.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> Result<T> + Send + 'static) -> Task<T> {
        let (answer, task) = oneshot::channel();
        self.push(false, move || {
            if !answer.is_closed() {
                let _ = answer.send(job());
            }
        });
        Task(task)
    }

    /// Runs a long job, which is told by the function it is given whether it was called off.
    pub fn run_long<T: Send + 'static>(
        &self,
        job: impl FnOnce(&dyn Fn() -> bool) -> Result<T> + Send + 'static,
    ) -> Task<T> {
        let (answer, task) = oneshot::channel();
        self.push(true, move || {
            if !answer.is_closed() {
                let outcome = job(&|| answer.is_closed());
                let _ = answer.send(outcome);
            }
        });
        Task(task)
    }

    fn push(&self, long: bool, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.shared.lock();
        if long {
            queue.long.push_back(Box::new(job));
        } else {
            queue.short.push_back(Box::new(job));
        }
        if queue.idle > 0 {
            drop(queue);
            self.shared.work.notify_one();
        } else if queue.threads < self.shared.long_at_once + 2 {
            let shared = self.shared.clone();
            // Where no thread can begin, the job waits for those that run; without any it is dropped, which its task says.
            match thread::Builder::new().name("wl-local".into()).spawn(move || shared.work()) {
                Ok(_) => queue.threads += 1,
                Err(_) if queue.threads == 0 => {
                    queue.short.clear();
                    queue.long.clear();
                }
                Err(_) => {}
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut batch: Vec<Job> = Vec::with_capacity(BATCH);
        let mut queue = self.lock();
        loop {
            let share = queue.short.len().div_ceil(queue.threads.max(1)).min(BATCH);
            batch.extend(queue.short.drain(..share));
            let mut long = None;
            if batch.is_empty() && queue.long_running < self.long_at_once {
                long = queue.long.pop_front();
                queue.long_running += usize::from(long.is_some());
            }
            if batch.is_empty() && long.is_none() {
                if queue.closed && queue.long.is_empty() {
                    return;
                }
                queue.idle += 1;
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
                continue;
            }
            drop(queue);
            let was_long = long.is_some();
            batch.drain(..).chain(long).for_each(|job| job());
            queue = self.lock();
            queue.long_running -= usize::from(was_long);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn short_jobs_pass_long_ones() {
        let pool = Pool::new();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let long: Vec<_> = (0..64)
            .map(|_| {
                let wait = wait.clone();
                pool.run_long(move |_| wait.lock().unwrap().recv().map_err(|_| Error::stopped()))
            })
            .collect();
        assert_eq!(pool.run(|| Ok(7)).await, Ok(7));
        drop(go);
        for task in long {
            assert!(task.await.is_err());
        }
    }

    #[tokio::test]
    async fn a_dropped_task_calls_its_job_off() {
        let pool = Pool::new();
        let (told, heard) = oneshot::channel();
        let task = pool.run_long(move |off| {
            while !off() {
                thread::yield_now();
            }
            let _ = told.send(());
            Ok(())
        });
        drop(task);
        // Called off either before it began, which drops `told`, or while it ran.
        let _ = heard.await;
    }
}
