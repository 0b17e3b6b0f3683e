//! Values and leases in Redis, for several cache processes.
//!
//! Each operation is one command or one script, so Redis runs it as a whole. A key's value is at `value:RUN:KEY` and its lease
//! at `lease:RUN:KEY`; both expire. `RUN` is the id that Redis chooses when it starts: a snapshot that it loads, or a replica
//! that takes over, may have deleted values, which are then not found. While Redis does not answer, lookups are misses without
//! a lease, and a delete fails, so its caller repeats it.

mod connection;

use std::time::Duration;

use bytes::Bytes;
use redis::{AsyncCommands as _, Script, Value};

use super::storage::{Lookup, Storage, Unavailable, new_token};
use connection::{Connection, Session};

/// For each pair of keys, value and lease: the value, 0 for a new lease, or the remaining milliseconds of the existing one.
/// The first argument is the length of a new lease, the others are the tokens.
const LOOK_UP: &str = "
local found = {}
for i = 1, #KEYS, 2 do
  local value = redis.call('GET', KEYS[i])
  if value then
    found[#found + 1] = value
  elseif redis.call('SET', KEYS[i + 1], ARGV[(i + 3) / 2], 'NX', 'PX', ARGV[1]) then
    found[#found + 1] = 0
  else
    found[#found + 1] = math.max(redis.call('PTTL', KEYS[i + 1]), 1)
  end
end
return found
";

/// Stores the first argument for the milliseconds of the second one. A third argument is the token of the lease.
const SET: &str = "
if ARGV[3] and redis.call('GET', KEYS[2]) ~= ARGV[3] then
  return 0
end
redis.call('DEL', KEYS[2])
if tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
else
  redis.call('DEL', KEYS[1])
end
return 1
";

/// A storage that several processes share.
pub(super) struct RedisStorage {
    connection: Connection,
    look_up: Script,
    set: Script,
}

impl RedisStorage {
    /// Returns the storage at `url`, whose exchanges with Redis take at most `timeout`. Connects with the first operation.
    ///
    /// # Errors
    ///
    /// Fails if `url` is not a URL of Redis.
    pub(super) fn new(url: &str, timeout: Duration) -> redis::RedisResult<Self> {
        Ok(Self {
            connection: Connection::new(url, timeout)?,
            look_up: Script::new(LOOK_UP),
            set: Script::new(SET),
        })
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Interprets one element of the reply of [`LOOK_UP`].
fn lookup(found: Value, token: String) -> Option<Lookup> {
    match found {
        Value::BulkString(value) => Some(Lookup::Value(value.into())),
        Value::Int(0) => Some(Lookup::Leased(token)),
        Value::Int(left) => u64::try_from(left).ok().map(Duration::from_millis).map(Lookup::Held),
        _ => None,
    }
}

impl Storage for RedisStorage {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Unavailable> {
        let get = async |redis: &mut Session| {
            let name = redis.value_key(key);
            redis.connection.get(name).await
        };
        let value: Option<Vec<u8>> = self.connection.run("GET", get).await?;
        Ok(value.map(Bytes::from))
    }

    async fn look_up(&self, keys: &[String], lease: Duration) -> Result<Vec<Lookup>, Unavailable> {
        let tokens: Vec<String> = keys.iter().map(|_| new_token()).collect();
        let look_up = async |redis: &mut Session| {
            let mut call = self.look_up.prepare_invoke();
            call.arg(milliseconds(lease));
            for (key, token) in keys.iter().zip(&tokens) {
                call.key(redis.value_key(key)).key(redis.lease_key(key)).arg(token);
            }
            call.invoke_async(&mut redis.connection).await
        };
        let found: Vec<Value> = self.connection.run("EVALSHA", look_up).await?;
        let found = found.into_iter().zip(tokens).map(|(found, token)| lookup(found, token));
        found.collect::<Option<Vec<_>>>().filter(|found| found.len() == keys.len()).ok_or(Unavailable)
    }

    async fn set(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        lease: Option<&str>,
    ) -> Result<bool, Unavailable> {
        let set = async |redis: &mut Session| {
            let mut call = self.set.prepare_invoke();
            call.key(redis.value_key(key)).key(redis.lease_key(key));
            call.arg(value.as_ref()).arg(milliseconds(ttl));
            if let Some(token) = lease {
                call.arg(token);
            }
            call.invoke_async(&mut redis.connection).await
        };
        self.connection.run("EVALSHA", set).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), Unavailable> {
        if keys.is_empty() {
            return Ok(());
        }
        let delete = async |redis: &mut Session| {
            let names = keys.iter().flat_map(|key| [redis.value_key(key), redis.lease_key(key)]);
            let names: Vec<String> = names.collect();
            redis.connection.del(names).await
        };
        self.connection.run("DEL", delete).await
    }

    async fn is_ready(&self) -> bool {
        let ping = async |redis: &mut Session| redis.connection.ping::<()>().await;
        self.connection.run("PING", ping).await.is_ok()
    }
}

#[cfg(test)]
mod tests;
