<?php
// PHP's curl: an array of fields is a form, a string is application/x-www-form-urlencoded.
[, $url, $three, $five] = $argv;

function show($body): void
{
    global $url;
    $request = curl_init("$url/predict");
    curl_setopt_array($request, [CURLOPT_POSTFIELDS => $body, CURLOPT_RETURNTRANSFER => true]);
    $answer = json_decode(curl_exec($request), flags: JSON_THROW_ON_ERROR);
    echo implode(" ", array_column($answer->predictions, "label")), "\n";
}

show(["file" => new CURLFile($three)]);
show(file_get_contents($three));
show(json_encode(["image" => base64_encode(file_get_contents($three))]));
show(["file[0]" => new CURLFile($three), "file[1]" => new CURLFile($five)]);
