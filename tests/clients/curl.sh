# curl, with the header that it sets itself: application/x-www-form-urlencoded for a body.
url=$1 three=$2 five=$3
label() { grep -o '"label":[0-9]*' | cut -d: -f2 | paste -sd' '; }
post() { curl -sS "$url/predict" "$@" | label; }

post -F "file=@$three"
post --data-binary "@$three"
printf '{"image": "%s"}' "$(base64 < "$three" | tr -d '\n')" | post -d @-
post -F "file=@$three" -F "file=@$five"
