// The image as Testcontainers for Node.js starts it: it waits for the ready line and looks for ports with a shell inside.
import amqp from "amqplib";
import { RabbitMQContainer } from "@testcontainers/rabbitmq";

const image = process.argv[2];
for (const environment of [{}, { RABBITMQ_DEFAULT_USER: "eva", RABBITMQ_DEFAULT_PASS: "secret" }]) {
  const container = await new RabbitMQContainer(image).withEnvironment(environment).start();
  const url = new URL(container.getAmqpUrl());
  if (environment.RABBITMQ_DEFAULT_USER) {
    url.username = environment.RABBITMQ_DEFAULT_USER;
    url.password = environment.RABBITMQ_DEFAULT_PASS;
  }
  const connection = await amqp.connect(url.href);
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue("", { exclusive: true });
  channel.sendToQueue(queue, Buffer.from("hello"));
  await channel.waitForConfirms();
  const message = await channel.get(queue, { noAck: true });
  if (message === false || message.content.toString() !== "hello") throw new Error("no message");
  await connection.close();
  await container.stop();
}
