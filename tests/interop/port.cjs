// Loaded before amqplib's tests, which connect to the default port: sends that to the broker's.
const net = require('node:net');

const connect = net.connect;
net.connect = function (options, ...rest) {
  if (options?.port === 5672) {
    const v6 = options.host?.includes(':');
    const port = Number(v6 ? process.env.LEVERET_PORT_V6 : process.env.LEVERET_PORT);
    // The broker's other listener is that of 127.0.0.1, which `localhost` need not mean first.
    options = { ...options, port, host: v6 ? '::1' : '127.0.0.1' };
  }
  return connect.call(net, options, ...rest);
};
