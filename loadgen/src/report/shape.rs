//! What the calls were like, in words.

use super::format_latency;
use crate::plan::Shape;
use serde::{Deserialize, Serialize};

/// Each in words that name no file; `None` where nobody asked for it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ShapeOptions {
    pub size_distribution: Option<String>,
    pub reply_size: Option<String>,
    pub think: Option<String>,
    pub service: Option<String>,
    pub service_concurrency: Option<u32>,
    #[serde(default)]
    pub slow_worker: Option<f64>,
}

impl ShapeOptions {
    pub fn new(shape: &Shape) -> ShapeOptions {
        let size = shape.sizes.request();
        let octets = |len: u64| len.to_string();
        ShapeOptions {
            size_distribution: size.is_random().then(|| size.describe(octets)),
            reply_size: shape.sizes.reply().map(|size| size.describe(octets)),
            think: shape
                .think
                .as_ref()
                .map(|times| times.describe(format_latency)),
            service: shape
                .service
                .as_ref()
                .map(|times| times.describe(format_latency)),
            service_concurrency: shape.service.as_ref().map(|_| shape.server_count),
            slow_worker: shape.slow_worker,
        }
    }

    /// `size`: the mean of the requests'.
    pub fn bodies(&self, size: usize) -> String {
        let mut text = match (&self.size_distribution, &self.reply_size) {
            (None, None) => format!("{size}-octet bodies"),
            (sizes, replies) => {
                let requests = sizes.clone().unwrap_or_else(|| size.to_string());
                let replies = replies.as_deref().unwrap_or("the same");
                format!("request octets {requests}, reply octets {replies}")
            }
        };
        if let Some(service) = &self.service {
            let at_a_time = self.service_concurrency.unwrap_or(1);
            text += &format!(", service {service} ({at_a_time} at a time)");
            if let Some(factor) = self.slow_worker {
                text += &format!(", at the first worker {factor} times as long");
            }
        }
        text
    }

    /// Without a rate.
    pub fn pace(&self) -> String {
        match &self.think {
            None => "closed loop".to_owned(),
            Some(think) => format!("closed loop, think {think}"),
        }
    }
}
