// Preloaded into the suite's origin: makes it listen on the loopback interface only, not on all interfaces.
import net from 'node:net'

const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (port) {
  return listen.call(this, { port: Number(port), host: '127.0.0.1' })
}
