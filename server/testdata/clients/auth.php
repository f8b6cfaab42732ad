<?php
// What php-memcached says of a server that wants the password testpass of testuser, in its client and in its session handler.
// Usage: php auth.php steps SERVER
[, , $server] = $argv;
[$host, $port] = explode(':', $server);
ob_start(null, 0, PHP_OUTPUT_HANDLER_FLUSHABLE); // the handler sends headers

function show(string $step, mixed ...$values): void {
    fwrite(STDOUT, $step . ': ' . implode(' ', array_map('json_encode', $values)) . "\n");
}

foreach (['right' => ['testuser', 'testpass'], 'wrong' => ['testuser', 'nonsense'], 'nobody' => ['nobody', 'testpass'], 'none' => null] as $name => $who) {
    $m = new Memcached();
    $m->setOption(Memcached::OPT_BINARY_PROTOCOL, true);
    $m->setOption(Memcached::OPT_POLL_TIMEOUT, 20000);
    if ($who) {
        show("$name data", $m->setSaslAuthData(...$who));
    }
    $m->addServer($host, (int)$port);
    show("$name set", $m->set("k-$name", 'value', 100), $m->getResultCode() === Memcached::RES_SUCCESS);
    show("$name get", $m->get("k-$name"));
    show("$name multi", $m->setMulti(["a-$name" => 1, "b-$name" => [2]], 100), $m->getMulti(["a-$name", "b-$name"]));
    $m->quit();
}

foreach (['session.use_cookies' => 0, 'session.use_strict_mode' => 0, 'session.cache_limiter' => '', 'session.gc_probability' => 0,
    'session.save_handler' => 'memcached', 'session.save_path' => $server, 'memcached.sess_binary_protocol' => 1,
    'memcached.sess_sasl_username' => 'testuser', 'memcached.sess_sasl_password' => 'testpass'] as $name => $value) {
    ini_set($name, (string)$value);
}
foreach ([1, 2, 3] as $visit) {
    session_id('abcdefghijklmnopqrstuvwxyz012345');
    show("visit $visit", @session_start(), $_SESSION['visits'] ?? null);
    $_SESSION['visits'] = $visit;
    show('close', session_write_close());
}
fwrite(STDOUT, "done\n");
