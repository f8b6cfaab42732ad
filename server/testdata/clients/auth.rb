# What dalli says of a server that wants the password testpass of testuser. Usage: ruby auth.rb steps SERVER
require 'dalli'

server = ARGV[1]
Dalli.logger.level = Logger::FATAL

def show(step, *values)
  puts "#{step}: #{values.map(&:inspect).join(' ')}"
end

def said
  yield
rescue StandardError => e
  "#{e.class}: #{e.message}"
end

[['right', 'testuser', 'testpass'], ['wrong', 'testuser', 'nonsense'], ['nobody', 'nobody', 'testpass']].each do |name, user, password|
  m = Dalli::Client.new(server, username: user, password: password, socket_timeout: 20, protocol: :binary)
  show("#{name} set", said { m.set("k-#{name}", 'value', 100).class })
  show("#{name} get", said { m.get("k-#{name}") })
  show("#{name} multi", said { m.get_multi("k-#{name}", 'none') })
  m.close
end
puts 'done'
