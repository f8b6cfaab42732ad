<?php
// Sessions of php-memcached or php-memcache, with locking.
// Usage: php session.php HOST PORT memcached|memcache binary|text
[, $host, $port, $handler, $protocol] = $argv;
ob_start(); // the handlers send headers
$id = 'abcdefghijklmnopqrstuvwxyz012345';
ini_set('session.use_cookies', '0');
ini_set('session.use_strict_mode', '0');
ini_set('session.cache_limiter', '');
ini_set('session.gc_probability', '0');
ini_set('session.save_handler', $handler);
ini_set('session.save_path', $handler === 'memcached' ? "$host:$port" : "tcp://$host:$port");
ini_set('memcached.sess_binary_protocol', $protocol === 'binary' ? '1' : '0');
ini_set('memcached.sess_lock_wait_min', '1');
ini_set('memcached.sess_lock_wait_max', '2');
ini_set('memcached.sess_lock_retries', '3');
$m = new Memcached();
$m->addServer($host, (int)$port);

if (($argv[5] ?? '') === 'other') { // a second request of the same visitor
    session_id($id);
    echo json_encode(@session_start()), "\n";
    exit;
}
$other = fn() => trim(shell_exec(implode(' ', array_map('escapeshellarg', [PHP_BINARY, __FILE__, $host, $port, $handler, $protocol, 'other']))));
$lock = $handler === 'memcached' ? "memc.sess.key.lock.$id" : "$id.lock";
$m->flush();
session_id($id);
echo 'start: ', json_encode(session_start()), ' ', json_encode($_SESSION), "\n";
echo 'locked: ', json_encode($m->get($lock) !== false), "\n";
if ($handler === 'memcached') {
    echo 'meanwhile: ', $other(), "\n";
}
$_SESSION = ['user' => 7, 'basket' => ['a' => 1.5, 'b' => null], 'text' => str_repeat('x', 5000)];
session_write_close();
echo 'unlocked: ', json_encode($m->get($lock) === false), "\n";
echo 'afterwards: ', $other(), "\n";
session_id($id);
session_start();
echo 'read: ', md5(serialize($_SESSION)), ' ', count($_SESSION), "\n";
$_SESSION['user']++;
session_write_close();
session_id($id);
session_start();
echo 'changed: ', $_SESSION['user'], "\n";
session_regenerate_id(true);
$new = session_id();
session_write_close();
session_id($new);
session_start();
echo 'new id: ', json_encode($new !== $id), ' ', $_SESSION['user'], "\n";
session_destroy();
session_id($new);
session_start();
echo 'destroyed: ', json_encode($_SESSION), "\n";
session_write_close();
