<?php
/*
 * What to show a visitor: looked up in memcached, as ever. Nothing in this page knows of Swordfish but the host name.
 * The page never fills the cache: what is missing comes with the next request.
 */
$cache = new Memcached();
$cache->addServer(getenv('CACHE_HOST') ?: '127.0.0.1', (int) (getenv('CACHE_PORT') ?: 11211));

function guess($agent, array $names, $otherwise)
{
    foreach ($names as $name => $needle) {
        if (stripos($agent, $needle) !== false) {
            return $name;
        }
    }
    return $otherwise;
}

$agent = isset($_SERVER['HTTP_USER_AGENT']) ? $_SERVER['HTTP_USER_AGENT'] : '';
$visitor = array(
    'country' => isset($_GET['country']) ? substr(preg_replace('/[^A-Z]/', '', strtoupper($_GET['country'])), 0, 2) : 'US',
    'dev'     => isset($_GET['dev']) ? (int) $_GET['dev'] : 1,
    'os'      => guess($agent, array('ios' => 'iPhone', 'android' => 'Android', 'chromeos' => 'CrOS', 'macos' => 'Mac OS X', 'windows' => 'Windows'), 'linux'),
    'browser' => guess($agent, array('edge' => 'Edg/', 'opera' => 'OPR/', 'samsung' => 'SamsungBrowser', 'firefox' => 'Firefox', 'chrome' => 'Chrome', 'safari' => 'Safari'), 'chrome'),
    'cat'     => guess($agent, array('tablet' => 'iPad', 'mobile' => 'Mobile'), 'desktop'),
    'w'       => 414,
    'h'       => 896,
);

// Parts come in whatever order this page's many authors left them.
$names = array_keys($visitor);
shuffle($names);
$key = 'chr';
foreach ($names as $name) {
    $key .= "|$name=" . $visitor[$name];
}

$started = microtime(true);
$row = $cache->get($key);
$took = (microtime(true) - $started) * 1000;
$found = $cache->getResultCode() === Memcached::RES_SUCCESS;
?>
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Demo</title></head>
<body>
<h1><?php echo $found ? 'Found' : 'Not yet known' ?></h1>
<p><code>get <?php echo htmlspecialchars($key) ?></code>: <?php printf('%.2f ms', $took) ?></p>
<?php if ($found) { ?>
<ul>
<li>size: <?php echo htmlspecialchars($row['size']) ?></li>
<li>formats: <?php echo htmlspecialchars(implode(', ', $row['formats'])) ?></li>
<li>currency: <?php echo htmlspecialchars($row['currency']) ?></li>
<li>languages: <?php echo htmlspecialchars(implode(', ', $row['languages'])) ?></li>
</ul>
<?php } else { ?>
<p>Any advertisement will do (<?php echo htmlspecialchars($cache->getResultMessage()) ?>). Reload the page: by then it is known.</p>
<?php } ?>
<p>Visit from
<?php foreach (array('US', 'DE', 'BR', 'JP', 'IN') as $country) { ?>
<a href="?country=<?php echo $country ?>"><?php echo $country ?></a>
<?php } ?>
</p>
</body>
</html>
