// Go's net/http and mime/multipart, whose CreateFormFile declares application/octet-stream.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func show(kind string, body io.Reader) {
	answer, err := http.Post(os.Args[1]+"/predict", kind, body)
	check(err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		panic(string(text))
	}
	var document struct{ Predictions []struct{ Label *int } }
	check(json.NewDecoder(answer.Body).Decode(&document))
	var labels []string
	for _, prediction := range document.Predictions {
		labels = append(labels, fmt.Sprint(*prediction.Label))
	}
	fmt.Println(strings.Join(labels, " "))
}

func form(images ...[]byte) (string, io.Reader) {
	var body bytes.Buffer
	writer := multipart.NewWriter(&body)
	for _, image := range images {
		part, err := writer.CreateFormFile("file", "digit.png")
		check(err)
		part.Write(image)
	}
	check(writer.Close())
	return writer.FormDataContentType(), &body
}

func main() {
	three, err := os.ReadFile(os.Args[2])
	check(err)
	five, err := os.ReadFile(os.Args[3])
	check(err)
	show(form(three))
	show("image/png", bytes.NewReader(three))
	document, err := json.Marshal(map[string][]byte{"image": three}) // bytes become base64
	check(err)
	show("application/json", bytes.NewReader(document))
	show(form(three, five))
}
