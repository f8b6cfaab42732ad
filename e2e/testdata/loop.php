<?php
// A page that asks again and again for what is there, and stores as often, until the file named last is there. It prints how
// often it asked, how often that went wrong or found nothing, and the longest time that one command took, in milliseconds.
list(, $host, $port, $name, $binary, $stop) = $argv;
$cache = new Memcached();
$cache->setOption(Memcached::OPT_BINARY_PROTOCOL, $binary == 'binary');
$cache->addServer($host, (int) $port);
$asked = $errors = $misses = 0;
$longest = 0.0;
while (!file_exists($stop)) {
    for ($i = 0; $i < 50; $i++) {
        $key = 'key:' . (($asked * 7919) % 5000);
        $began = microtime(true);
        $value = $cache->get($key);
        $longest = max($longest, microtime(true) - $began);
        $code = $cache->getResultCode();
        if ($code == Memcached::RES_NOTFOUND) {
            $misses++;
        } elseif ($code != Memcached::RES_SUCCESS || $value !== 'value of ' . $key) {
            $errors++;
        }
        $began = microtime(true);
        if (!$cache->set($name . ':' . ($i % 10), array('n' => $asked, 'text' => str_repeat('x', $i * 40)))) {
            $errors++;
        }
        $longest = max($longest, microtime(true) - $began);
        $back = $cache->get($name . ':' . ($i % 10));
        if (!is_array($back) || $back['n'] !== $asked) {
            $errors++;
        }
        $asked++;
    }
    clearstatcache();
}
printf("%d %d %d %.1f\n", $asked, $errors, $misses, $longest * 1000);
