//! The jobs that a restarted daemon must know of.

use rusqlite::types::Type;

use super::{JobRecord, State};
use crate::error::Result;

impl State {
    /// Remembers a job, or what changed about it.
    pub fn save_job(&self, job: &JobRecord) -> Result<()> {
        let JobRecord { job_id, definition, paused } = job;
        self.shared.state.write(|tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO jobs (job_id, definition, paused) VALUES (?1, ?2, ?3)")?
                .execute((job_id, definition.to_string(), paused))
                .map(drop)
        })
    }

    /// Forgets a job.
    pub fn remove_job(&self, job_id: &str) -> Result<()> {
        self.shared
            .state
            .write(|tx| tx.prepare_cached("DELETE FROM jobs WHERE job_id = ?1")?.execute([job_id]).map(drop))
    }

    /// All remembered jobs, by id.
    pub fn jobs(&self) -> Result<Vec<JobRecord>> {
        self.shared.state.read(|connection| {
            connection
                .prepare_cached("SELECT job_id, definition, paused FROM jobs ORDER BY job_id")?
                .query_map([], |row| {
                    let definition = serde_json::from_str(&row.get::<_, String>(1)?)
                        .map_err(|cause| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, cause.into()))?;
                    Ok(JobRecord { job_id: row.get(0)?, definition, paused: row.get(2)? })
                })?
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn jobs_are_remembered_until_removed() {
        let state = State::in_memory().unwrap();
        let job = |id: &str, paused| JobRecord {
            job_id: id.to_owned(),
            definition: json!({"z": 1, "a": ["é", null]}),
            paused,
        };
        for job in [job("o|b", false), job("o|a", false), job("o|b", true)] {
            state.save_job(&job).unwrap();
        }
        assert_eq!(state.jobs().unwrap(), [job("o|a", false), job("o|b", true)]);
        state.remove_job("o|a").unwrap();
        state.remove_job("o|a").unwrap();
        assert_eq!(state.jobs().unwrap(), [job("o|b", true)]);
    }
}
