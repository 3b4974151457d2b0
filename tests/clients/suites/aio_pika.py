"""aio-pika. Its tests start the broker by Docker's interface, where they find ours."""

from docker import Docker
from kinds import PytestSuite


class AioPika(PytestSuite):
    def run(self, broker, outcomes):
        with Docker(broker.port) as docker:
            self.environment_of = lambda _: {"DOCKER_HOST": docker.url}
            super().run(broker, outcomes)


SUITE = AioPika("aio_pika", "aio-pika", ["tests"], None, limit_s=1500)
