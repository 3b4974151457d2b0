//! Classes connection and channel: beginning, flow and end of both.

use super::{Output, Shard, Slot};
use crate::engine::address::ChannelAddress;
use crate::engine::channel::Channel;
use crate::engine::connection::{self, Phase};
use crate::engine::violation::Violation;
use crate::engine::wire::reply_code::ReplyCode;
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::channel::{self, AMQPMethod as ChannelMethod};
use amq_protocol::protocol::connection::{
    AMQPMethod as ConnectionMethod, OpenOk, StartOk, UpdateSecretOk,
};

impl Shard {
    pub(super) fn session(
        &mut self,
        slot: Slot,
        method: ConnectionMethod,
    ) -> Result<(), Violation> {
        let phase = self.connections[slot as usize].phase;
        match (phase, method) {
            (_, ConnectionMethod::Close(close)) => {
                let reason = match close.reply_text.as_str() {
                    "" => "closed by the peer".to_string(),
                    text => format!("closed by the peer: {} {text}", close.reply_code),
                };
                self.close_ok(slot, &reason);
                Ok(())
            }
            (Phase::AwaitStartOk, ConnectionMethod::StartOk(start_ok)) => {
                self.start_ok(slot, &start_ok)
            }
            (Phase::AwaitTuneOk, ConnectionMethod::TuneOk(tune_ok)) => {
                let connection = &mut self.connections[slot as usize];
                connection.tuned(&tune_ok, &self.settings)?;
                connection.phase = Phase::AwaitOpen;
                Ok(())
            }
            (Phase::AwaitOpen, ConnectionMethod::Open(open)) => {
                self.open(slot, open.virtual_host.as_str())
            }
            (Phase::Open, ConnectionMethod::UpdateSecret(_)) => {
                self.send(
                    slot,
                    0,
                    AMQPClass::Connection(ConnectionMethod::UpdateSecretOk(UpdateSecretOk {})),
                );
                Ok(())
            }
            _ => {
                let text = "a method of class connection out of its order";
                Err(Violation::connection(ReplyCode::CommandInvalid, text))
            }
        }
    }

    fn start_ok(&mut self, slot: Slot, start_ok: &StartOk) -> Result<(), Violation> {
        let connection = &mut self.connections[slot as usize];
        let Err(failure) = connection.authenticate(start_ok, &self.settings.users)? else {
            connection.phase = Phase::AwaitTuneOk;
            connection
                .outbound
                .push_method(0, &connection::tune(&self.settings));
            self.agenda.touch(connection);
            return Ok(());
        };
        let peer = connection.peer;
        // A stranger chose the name: not much of it goes to the log.
        let user: String = failure.user.chars().take(64).collect();
        self.agenda
            .log(true, format!("login of '{user}' from {peer} refused"));
        if !self.connections[slot as usize]
            .capabilities
            .authentication_failure_close
        {
            self.leave(slot, Output::Close(slot), "login refused");
            return Ok(());
        }
        let text = format!(
            "Login was refused using authentication mechanism {}. For details see the broker \
             logfile.",
            failure.mechanism
        );
        self.send_close(slot, &Violation::connection(ReplyCode::AccessRefused, text));
        Ok(())
    }

    fn open(&mut self, slot: Slot, virtual_host: &str) -> Result<(), Violation> {
        let Some(vhost) = self.vhost_named(virtual_host) else {
            let text = format!("vhost {virtual_host} not found");
            return Err(Violation::connection(ReplyCode::NotAllowed, text));
        };
        let connection = &mut self.connections[slot as usize];
        connection.vhost = vhost;
        connection.phase = Phase::Open;
        let text = format!(
            "connection {} opened by '{}'",
            connection.peer, connection.user
        );
        self.agenda.log(false, text);
        self.send(
            slot,
            0,
            AMQPClass::Connection(ConnectionMethod::OpenOk(OpenOk {})),
        );
        self.schedule(slot);
        Ok(())
    }

    pub(super) fn open_channel(&mut self, slot: Slot, number: u16) -> Result<(), Violation> {
        let generation = self.take_generation();
        let connection = &mut self.connections[slot as usize];
        let (count, max) = (connection.channel_count(), connection.tuning.channel_max);
        if count >= usize::from(max) {
            let text = format!(
                "number of channels opened ({count}) has reached the negotiated channel_max ({max})"
            );
            return Err(Violation::connection(ReplyCode::NotAllowed, text));
        }
        let address = ChannelAddress {
            shard: self.index,
            channel: number,
            slot,
            generation,
        };
        connection.insert_channel(number, Channel::new(address));
        self.send(
            slot,
            number,
            AMQPClass::Channel(ChannelMethod::OpenOk(channel::OpenOk {})),
        );
        Ok(())
    }

    pub(super) fn channel_session(
        &mut self,
        slot: Slot,
        number: u16,
        method: ChannelMethod,
    ) -> Result<(), Violation> {
        match method {
            ChannelMethod::Open(_) => {
                let text = "second 'channel.open' seen";
                Err(Violation::connection(ReplyCode::ChannelError, text))
            }
            ChannelMethod::Close(_) => {
                self.channel_close_ok(slot, number);
                Ok(())
            }
            ChannelMethod::Flow(flow) => {
                self.flow(slot, number, flow.active);
                Ok(())
            }
            // We send no channel.flow, and our channel.close is answered while closing.
            ChannelMethod::FlowOk(_) | ChannelMethod::CloseOk(_) | ChannelMethod::OpenOk(_) => {
                let text = "a method of class channel out of its order";
                Err(Violation::connection(ReplyCode::CommandInvalid, text))
            }
        }
    }

    fn flow(&mut self, slot: Slot, number: u16, active: bool) {
        self.change_limiter(slot, number, |limiter| limiter.set_flowing(active));
        self.send(
            slot,
            number,
            AMQPClass::Channel(ChannelMethod::FlowOk(channel::FlowOk { active })),
        );
        if active {
            self.release_held_replies(slot, number);
        }
    }

    /// One method to the peer.
    pub(super) fn send(&mut self, slot: Slot, number: u16, method: AMQPClass) {
        let connection = &mut self.connections[slot as usize];
        connection.outbound.push_method(number, &method);
        self.agenda.touch(connection);
    }
}
